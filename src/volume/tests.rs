//! The rules of the volume layer, one table each, over headers made in code.

mod fixture;
mod geometry;
mod property;
mod series;
mod values;
