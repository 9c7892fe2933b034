//! What the device's process refuses, and what it has given up.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use super::*;
use crate::decode::gpu::testing::{self, LONG, job, launch, slab, wait_until};
use crate::decode::gpu::{Remote, State};
use crate::ipc;

/// A worker on a thread, with one lane: the line, the lane's socket, the thread.
fn serving() -> (OwnedFd, OwnedFd, thread::JoinHandle<io::Result<()>>) {
    let (line, theirs) = ipc::pair().expect("pair");
    let open: Arc<dyn Open> = Arc::new(testing::open);
    let thread = thread::spawn(move || serve(&theirs, 0, 1, open, || Ok(())));
    let (socket, other) = ipc::pair().expect("pair");
    let (_map, memory) = memory::create(4096).expect("memory");
    let lane = Order::Lane { len_bytes: 4096 };
    let fds = [other.as_fd(), memory.as_fd()];
    wire::tell(line.as_fd(), &lane, &fds).expect("told");
    let ready = wire::hear::<Answer>(line.as_fd()).expect("heard");
    assert_eq!(ready.expect("a word").0, Answer::Ready(testing::report(0)));
    (line, socket, thread)
}

#[test]
fn hostile_batches_are_refused_and_touch_nothing() {
    let slab = slab(200_000);
    let batch = |window, jobs| Order::Batch {
        number: 1,
        parts: vec![Part { window, jobs }],
    };
    let good = || vec![job(0..1, 0..10)];
    let huge = u64::MAX - u64::MAX % 65536;
    let cases = [
        batch(0..65536, vec![]),
        batch(0..65536, vec![job(4096..4097, 0..10)]),
        batch(0..65536, vec![job(0..u64::MAX, 0..10)]),
        batch(0..65536, vec![job(0..1, 65530..65540)]),
        batch(65536..131_072, vec![job(0..1, 65530..65540)]),
        batch(0..262_144, vec![job(0..1, 199_999..200_001)]),
        batch(0..200_001, good()),
        batch(1..65536, vec![job(0..1, 1..10)]),
        batch(huge..u64::MAX, vec![job(0..1, huge..u64::MAX)]),
        batch(0..65536, vec![job(0..1, 0..10), job(0..1, 9..11)]),
        Order::Lane { len_bytes: 1 },
    ];
    for order in cases {
        let (line, socket, thread) = serving();
        wire::tell(socket.as_fd(), &order, &[slab.as_fd()]).expect("told");
        let answer = wire::hear::<Answer>(socket.as_fd())
            .expect("heard")
            .expect("a word");
        assert!(matches!(answer.0, Answer::Lost(_)), "{order:?}: {answer:?}");
        drop(line);
        thread.join().expect("thread").expect("an end");
    }
    let (line, socket, _) = serving();
    wire::tell(socket.as_fd(), &batch(0..65536, good()), &[]).expect("told");
    let answer = wire::hear::<Answer>(socket.as_fd())
        .expect("heard")
        .expect("a word");
    assert!(matches!(answer.0, Answer::Lost(_)), "no slab: {answer:?}");
    drop(line);
    let mut bytes = vec![1; 200_000];
    std::os::unix::fs::FileExt::read_exact_at(&slab, &mut bytes, 0).expect("read");
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn hostile_parts_are_refused_and_touch_nothing() {
    let slabs = [slab(200_000), slab(100_000)];
    let part = |window, out| Part {
        window,
        jobs: vec![job(0..1, out)],
    };
    let good = || part(0..65536, 0..10);
    let (one, two) = (slabs[0].as_fd(), slabs[1].as_fd());
    let again = slabs[0].try_clone().expect("clone");
    let cases = [
        ("one slab twice", vec![good(), good()], vec![one, one]),
        (
            "the same by another descriptor, elsewhere in it",
            vec![good(), part(65536..131_072, 70_000..70_010)],
            vec![one, again.as_fd()],
        ),
        ("two parts, one slab", vec![good(), good()], vec![one]),
        ("one part, two slabs", vec![good()], vec![one, two]),
        ("no parts", vec![], vec![]),
        (
            "a window beyond the second slab",
            vec![good(), part(65536..131_072, 99_990..100_010)],
            vec![one, two],
        ),
        (
            "an output in the first part's window",
            vec![
                part(65536..131_072, 70_000..70_010),
                part(0..65536, 70_000..70_010),
            ],
            vec![two, one],
        ),
        (
            "too many",
            vec![good(); wire::PARTS_MAX + 1],
            vec![one; wire::PARTS_MAX],
        ),
    ];
    for (what, parts, fds) in cases {
        let (line, socket, thread) = serving();
        let order = Order::Batch { number: 1, parts };
        wire::tell(socket.as_fd(), &order, &fds).expect("told");
        let answer = wire::hear::<Answer>(socket.as_fd())
            .expect("heard")
            .expect("a word");
        assert!(matches!(answer.0, Answer::Lost(_)), "{what}: {answer:?}");
        drop(line);
        thread.join().expect("thread").expect("an end");
    }
    for slab in &slabs {
        let mut bytes = vec![1; 100_000];
        std::os::unix::fs::FileExt::read_exact_at(slab, &mut bytes, 0).expect("read");
        assert!(bytes.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn jobs_of_all_parts_are_moved_to_where_their_windows_are() {
    let parts = vec![
        Part {
            window: 65536..131_072,
            jobs: vec![job(0..1, 65540..65550), job(1..2, 131_000..131_072)],
        },
        Part {
            window: 0..65536,
            jobs: vec![job(2..3, 5..9)],
        },
    ];
    let outs = side_by_side(parts, &[0, 65536]);
    let outs: Vec<_> = outs.into_iter().map(|job| job.out).collect();
    assert_eq!(outs, [4..14, 65464..65536, 65541..65545]);
}

#[test]
fn a_slab_that_cannot_be_written_is_refused() {
    let path = tempfile::NamedTempFile::new().expect("a file");
    path.as_file().set_len(65536).expect("length");
    let read_only = fs::File::open(path.path()).expect("open");
    let (_line, socket, _) = serving();
    let part = Part {
        window: 0..65536,
        jobs: vec![job(0..1, 0..10)],
    };
    let batch = Order::Batch {
        number: 1,
        parts: vec![part],
    };
    wire::tell(socket.as_fd(), &batch, &[read_only.as_fd()]).expect("told");
    let answer = wire::hear::<Answer>(socket.as_fd())
        .expect("heard")
        .expect("a word");
    assert!(matches!(answer.0, Answer::Lost(_)), "{answer:?}");
}

#[test]
fn a_lane_that_is_none_is_refused() {
    let attempt = |len_bytes: u64, sealed: bool, count: usize| {
        let (line, theirs) = ipc::pair().expect("pair");
        let (socket, _other) = ipc::pair().expect("pair");
        let memory = match sealed {
            true => memory::create(4096).expect("memory").1,
            false => slab(4096).into(),
        };
        let fds = [socket.as_fd(), memory.as_fd()];
        let lane = Order::Lane { len_bytes };
        wire::tell(line.as_fd(), &lane, &fds[..count]).expect("told");
        drop(line);
        serve(&theirs, 0, 1, Arc::new(testing::open), || Ok(()))
    };
    assert!(attempt(8192, true, 2).is_err(), "longer than it is");
    assert!(attempt(4096, false, 2).is_err(), "not sealed");
    assert!(attempt(4096, true, 1).is_err(), "no memory");
    let (_line, theirs) = ipc::pair().expect("pair");
    let open: Arc<dyn Open> = Arc::new(testing::open);
    assert!(serve(&theirs, 0, wire::LANES_MAX + 1, open, || Ok(())).is_err());
}

#[test]
fn who_cannot_give_up_rights_decodes_nothing() {
    let (line, theirs) = ipc::pair().expect("pair");
    let refuse = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    serve(&theirs, 0, 0, Arc::new(testing::open), refuse).expect("an end");
    let answer = wire::hear::<Answer>(line.as_fd())
        .expect("heard")
        .expect("a word");
    assert!(matches!(answer.0, Answer::Unfit(why) if why.contains("rights")));
}

/// A line of /proc/PID/status.
fn status(of: &str, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{of}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|rest| rest.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{key}")).trim().to_string()
}

const CAPABILITIES: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn start(part: &str) -> (Remote, u32) {
    let (remote, _) = Remote::start(0, launch(part)).expect("started");
    let state = remote.wait_settled(Some(Instant::now() + LONG));
    assert_eq!(state, State::Ready);
    let pid = remote.facts().pid.expect("a process");
    (remote, pid)
}

#[test]
fn every_thread_has_given_up_its_rights() {
    let was_root = status("self", "Uid").starts_with('0');
    let (_remote, pid) = start("well");
    let mut threads = 0;
    let mut is_named = false;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("tasks") {
        let tid = thread
            .expect("a task")
            .file_name()
            .into_string()
            .expect("a number");
        let of = format!("{pid}/task/{tid}");
        is_named |= status(&of, "Name") == "dicomfs-gpu";
        if was_root {
            assert_eq!(status(&of, "Uid"), "65534\t65534\t65534\t65534", "{tid}");
            assert_eq!(status(&of, "Gid"), "65534\t65534\t65534\t65534", "{tid}");
            assert_eq!(status(&of, "Groups"), "", "{tid}");
        }
        // The test harness's own thread is older than the process's work: of the rights it could
        // only win by exec it has not given up any. The program proper has no such thread.
        let older = tid == pid.to_string();
        for key in CAPABILITIES
            .iter()
            .filter(|key| !older || **key != "CapBnd")
        {
            let found = status(&of, key);
            // Who is not root may not shorten the list of what exec could give; it has no new
            // privileges instead.
            if was_root || *key != "CapBnd" {
                assert_eq!(found, "0000000000000000", "{tid} {key}");
            }
        }
        if !older {
            assert_eq!(status(&of, "NoNewPrivs"), "1", "{tid}");
        }
        threads += 1;
    }
    // Two lanes, a thread of the driver for each, one that waits.
    assert!(threads >= 5 && is_named, "{threads}");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.expect("a limit").split_ascii_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("score");
    assert_eq!(score.trim(), "500");
}

#[test]
fn root_that_stays_root_has_no_capability() {
    // Rights are those of a thread, so the other tests keep theirs.
    let thread = thread::spawn(|| {
        let parent = std::os::unix::process::parent_id();
        let rights = confine::give_up_first(parent, false).expect("given up");
        let of = "thread-self";
        for key in CAPABILITIES.iter().filter(|key| **key != "CapBnd") {
            assert_eq!(status(of, key), "0000000000000000", "{key}");
        }
        assert_eq!(status(of, "NoNewPrivs"), "1");
        assert!(fs::exists("/proc/self").expect("goes on"));
        rights
    });
    let rights = thread.join().expect("thread");
    assert!(format!("{rights:?}").contains("becomes_nobody: false"));
}

#[test]
fn it_holds_no_descriptor_but_its_own() {
    // One that would be inherited.
    let open = slab(1);
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).expect("inheritable");
    let (remote, pid) = start("well");
    let list = || {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        let link = |entry: io::Result<fs::DirEntry>| {
            let link = fs::read_link(entry.expect("a descriptor").path()).expect("a link");
            link.to_string_lossy().into_owned()
        };
        let mut links: Vec<String> = entries.map(link).collect();
        links.sort();
        links
    };
    let before = list();
    let sockets = before
        .iter()
        .filter(|link| link.starts_with("socket:"))
        .count();
    let null = before.iter().filter(|link| *link == "/dev/null").count();
    assert_eq!((sockets, null, before.len()), (3, 3, 6), "{before:?}");
    drop(remote);
}

#[test]
fn signals_of_a_terminal_do_not_end_it() {
    let (remote, pid) = start("well");
    for signal in ["-INT", "-HUP", "-TERM"] {
        let sent = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }
    // Answered after they have arrived.
    let (_, starts) = (remote.state(), remote.facts().starts);
    assert_eq!((remote.state(), starts), (State::Ready, 1));
    assert_eq!(remote.facts().pid, Some(pid));
    let ignored = u64::from_str_radix(&status(&pid.to_string(), "SigIgn"), 16).expect("hex");
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
        assert!(ignored & (1 << (signal - 1)) != 0, "{signal}");
    }
}

/// Where a test program that plays the mount's process writes what it has to say.
const PARENT: &str = "DICOMFS_TEST_PARENT";

/// No test: the mount's process of the two below.
#[test]
fn as_parent() {
    let Ok(file) = env::var(PARENT) else {
        return;
    };
    if file == "count" {
        return count_descriptors();
    }
    let (_remote, pid) = start("well");
    let new = format!("{file}.new");
    fs::write(&new, pid.to_string()).expect("write");
    fs::rename(new, file).expect("rename");
    loop {
        thread::park();
    }
}

fn parent(what: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["decode::gpu::worker::tests::as_parent", "--exact"])
        .env(PARENT, what)
        .stdout(Stdio::null());
    command
}

#[test]
fn it_does_not_outlive_its_parent() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("pid");
    for is_stopped in [false, true] {
        let mut parent = parent(file.to_str().expect("UTF-8"))
            .spawn()
            .expect("spawn");
        wait_until("a device's process", || file.exists());
        let pid = fs::read_to_string(&file).expect("a number");
        fs::remove_file(&file).expect("removed");
        if is_stopped {
            // It cannot notice the end of its line, so this is the kernel's doing.
            let sent = Command::new("kill").args(["-STOP", &pid]).status();
            assert!(sent.expect("kill runs").success());
        }
        parent.kill().expect("kill");
        parent.wait().expect("wait");
        wait_until("its end", || {
            // Nobody may be there to reap it.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
}

/// In a process of its own, since other tests open and close files at the same time.
fn count_descriptors() {
    let count = || fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let before = count();
    {
        let (remote, mut lanes) = Remote::start(0, launch("well")).expect("started");
        remote.wait_settled(Some(Instant::now() + LONG));
        let pid = remote.facts().pid.expect("a process");
        let theirs = || {
            fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("descriptors")
                .count()
        };
        testing::decode_well(&mut lanes[0], b"a");
        let (during, others) = (count(), theirs());
        for _ in 0..50 {
            testing::decode_well(&mut lanes[0], b"ab");
            testing::decode_well(&mut lanes[1], b"c");
        }
        assert_eq!(
            (count(), theirs()),
            (during, others),
            "batches leave nothing open"
        );
        lanes[0].encoded()[0] = testing::DIE;
        let slab = slab(65536);
        let jobs = [job(0..1, 0..1)];
        let parts = [crate::decode::gpu::Part::new(&jobs, slab.as_fd(), 65536)];
        let fault = lanes[0].run(&parts, Instant::now() + LONG);
        fault.expect_err("a fault");
        drop(slab);
        assert_eq!(
            remote.wait_settled(Some(Instant::now() + LONG)),
            State::Ready
        );
        assert_eq!(count(), during, "nor does a fault");
    }
    assert_eq!(count(), before, "nor a device");
}

#[test]
fn no_descriptor_is_left_open() {
    let counted = parent("count").stderr(Stdio::inherit()).status();
    assert!(counted.expect("it runs").success());
}
