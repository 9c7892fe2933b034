//! The log: lines on standard error, set up once; from a mount in the background, which has none, in the
//! system's log ([`system`]).
//!
//! | level | what |
//! |---|---|
//! | error | something failed, and somebody has to see to it |
//! | warn | something is slower or less than it should be, and the program goes on |
//! | info | what happens: mounted, unmounting, a worker asked to end |
//! | debug | why: each thing that was tried and given up |
//! | trace | each request, also of other crates, with names: may name patients |
//!
//! A cause that repeats costs a few lines a minute: see [`limit`]. On a terminal there are colours,
//! for the journal the priority of each line; who keeps the lines adds the time.

mod limit;
mod system;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogLevel;
use crate::mount;
use limit::{Limits, Verdict};
use system::SystemLog;

/// Lines of one kind that are written within [`PERIOD`]; further ones are counted.
const LINES_MAX: u32 = 5;
const PERIOD: Duration = Duration::from_secs(60);

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Somebody looks at them.
    Terminal,
    /// systemd's journal, which reads a priority from the start of a line (sd-daemon(3)).
    Journal,
    /// A file or a pipe.
    Plain,
    /// The system's log.
    System,
}

/// Starts the log. A second call changes nothing: tests call commands more than once.
pub fn start(level: LogLevel) {
    let started = subscriber(level, place(), Out::now).try_init();
    if started.is_err() {
        tracing::debug!("the log runs already");
    }
}

/// Where lines go from now on.
enum Out {
    Stderr(io::Stderr),
    System(SystemLog),
}

impl Out {
    fn now() -> Out {
        match mount::is_in_background() {
            true => Out::System(SystemLog::default()),
            false => Out::Stderr(io::stderr()),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Stderr(stderr) => stderr.write(bytes),
            Out::System(log) => log.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn place() -> Place {
    let journal = std::env::var("JOURNAL_STREAM").ok();
    match journal {
        Some(stream) if is_stderr(&stream) => Place::Journal,
        _ if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() => {
            Place::Terminal
        }
        _ => Place::Plain,
    }
}

/// True if `stream`, a device and an inode number, is standard error: it may have been redirected
/// since the variable was set.
fn is_stderr(stream: &str) -> bool {
    let numbers = stream.split_once(':');
    let wanted = numbers.and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    let found = rustix::fs::fstat(io::stderr().as_fd());
    found.is_ok_and(|stat| wanted == Some((stat.st_dev, stat.st_ino)))
}

fn subscriber<W>(level: LogLevel, place: Place, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let limits = Arc::new(Limits::new(LINES_MAX, PERIOD));
    let line = Line {
        place,
        limits: limits.clone(),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(place == Place::Terminal)
        .event_format(line);
    tracing_subscriber::registry()
        .with(lines)
        .with(Few(limits))
        .with(targets(level))
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

/// Lets few lines of each kind through.
struct Few(Arc<Limits>);

impl<S: Subscriber> Layer<S> for Few {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Who asks for more wants all of it.
        *metadata.level() > Level::INFO || self.0.take(&metadata.callsite()) == Verdict::Write
    }
}

/// One line of the log.
struct Line {
    place: Place,
    limits: Arc<Limits>,
}

impl<S> FormatEvent<S, DefaultFields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        let words = match *metadata.level() > Level::INFO {
            true => String::new(),
            false => self.limits.words(&metadata.callsite()),
        };
        // One cause, one line, whatever the text of an error holds.
        let text = text.trim_end().replace('\n', " ");
        let level = *metadata.level();
        let place = match mount::is_in_background() {
            true => Place::System,
            false => self.place,
        };
        match place {
            Place::Terminal => write!(writer, "\x1b[{}m{level:>5}\x1b[0m ", colour(level))?,
            Place::Journal => write!(writer, "<{}>", priority(level))?,
            Place::Plain => write!(writer, "{level:>5} ")?,
            Place::System => write!(writer, "{}", system::head(priority(level)))?,
        }
        writeln!(writer, "{text}{words}")
    }
}

/// SGR codes: red, yellow, green, blue, magenta.
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// syslog(3)'s.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, place: Place, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(level, place, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    fn one_of_each() {
        tracing::error!("e");
        tracing::warn!("w");
        tracing::info!("i");
        tracing::debug!("d");
        tracing::warn!(target: "fuser", "lookup of a name");
        tracing::debug!(target: "fuser", "lookup of a name");
    }

    #[test]
    fn a_level_has_what_is_worse_and_others_only_what_is_doubtful() {
        let lines = |level| logged(level, Place::Plain, one_of_each).lines().count();
        assert_eq!(lines(LogLevel::Error), 1);
        assert_eq!(lines(LogLevel::Warn), 3);
        assert_eq!(lines(LogLevel::Info), 4);
        assert_eq!(lines(LogLevel::Debug), 5);
        assert_eq!(lines(LogLevel::Trace), 6);
    }

    #[test]
    fn a_line_suits_where_it_goes() {
        let log = || {
            tracing::error!(errno = 5, "two\nlines");
            tracing::info!("i");
        };
        let text = logged(LogLevel::Info, Place::Plain, log);
        assert_eq!(text, "ERROR two lines errno=5\n INFO i\n");
        let text = logged(LogLevel::Info, Place::Journal, log);
        assert_eq!(text, "<3>two lines errno=5\n<6>i\n");
        let text = logged(LogLevel::Info, Place::Terminal, log);
        assert!(text.contains("\x1b[31mERROR"), "{text:?}");
    }

    #[test]
    fn a_line_of_the_system_s_log_is_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = || tracing::error!(errno = 5, "two\nlines");
        let to = path.clone();
        let writer = move || SystemLog(to.clone());
        let subscribed = || subscriber(LogLevel::Info, Place::System, writer.clone());
        // Nobody listens: the line is lost, and nothing else.
        tracing::subscriber::with_default(subscribed(), log);
        let listener = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        tracing::subscriber::with_default(subscribed(), log);
        let mut bytes = [0; 200];
        let len = listener.recv(&mut bytes).unwrap();
        let expected = format!("<27>dicomfs[{}]: two lines errno=5", std::process::id());
        assert_eq!(std::str::from_utf8(&bytes[..len]).unwrap(), expected);
        assert!(listener.recv(&mut bytes).is_err());
    }

    #[test]
    fn a_cause_that_repeats_is_a_few_lines() {
        let log = || {
            for n in 0..1000 {
                tracing::warn!("broken again: {n}");
                tracing::debug!("each of these");
            }
            tracing::warn!("another cause");
        };
        let text = logged(LogLevel::Debug, Place::Plain, log);
        let broken: Vec<&str> = text.lines().filter(|l| l.contains("broken")).collect();
        assert_eq!(broken.len() as u32, LINES_MAX);
        assert!(!broken[3].contains("only counted"), "{text}");
        let last = " (more like this within a minute are only counted)";
        assert_eq!(broken[4], format!(" WARN broken again: 4{last}"));
        assert_eq!(text.matches("each of these").count(), 1000);
        assert!(text.contains("another cause"));
    }

    #[test]
    fn the_journal_is_known_by_its_numbers() {
        let stat = rustix::fs::fstat(io::stderr().as_fd()).unwrap();
        assert!(is_stderr(&format!("{}:{}", stat.st_dev, stat.st_ino)));
        assert!(!is_stderr(&format!("{}:{}", stat.st_dev, stat.st_ino + 1)));
        assert!(!is_stderr("") && !is_stderr("1") && !is_stderr("a:b"));
    }

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
