//! The log: lines on standard error, set up once.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;

/// Starts the log. A second call changes nothing: tests call commands more than once.
pub fn start(level: LogLevel) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false)
        .without_time();
    let started = tracing_subscriber::registry()
        .with(lines)
        .with(targets(level))
        .try_init();
    if started.is_err() {
        tracing::debug!("the log runs already");
    }
}

/// Who may say how much.
fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // fuser logs every request with its names below `warn`, and names may be patients'.
    let others = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Trace => LevelFilter::TRACE,
        _ => LevelFilter::WARN,
    };
    // notify warns of directories by name. What matters of it is told in other words.
    let watchers = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        _ => LevelFilter::OFF,
    };
    Targets::new()
        .with_default(others)
        .with_target("notify", watchers)
        .with_target("dicomfs", own)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn who_names_paths_is_silent() {
        for level in [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
        ] {
            assert!(!targets(level).would_enable("notify", &Level::ERROR));
            assert!(!targets(level).would_enable("fuser", &Level::INFO));
            assert!(targets(level).would_enable("dicomfs::cli", &Level::ERROR));
        }
        assert!(targets(LogLevel::Trace).would_enable("notify", &Level::TRACE));
    }
}
