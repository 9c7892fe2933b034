//! The rules of the volume layer, one table each, over headers made in code.

mod admit;
mod apart;
mod data;
mod deid;
mod expand;
pub(super) mod fixture;
mod geometry;
mod order;
mod property;
mod repeats;
mod segments;
mod series;
mod values;
