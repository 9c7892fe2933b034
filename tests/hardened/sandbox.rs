//! What a service manager does to a process before it starts the program: user, capabilities, and a
//! filter of system calls. Here whoever leaves the filter is killed, so that nothing goes unnoticed.
//!
//! Unsafe because none of these calls has a safe form in std, and they run between fork and exec:
//! only system calls on what was made before.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CString, c_ulong};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user that owns nothing.
pub const USER: u32 = 64_999;

/// Instructions of a filter (linux/filter.h, linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Places in `struct seccomp_data`: the low halves of arguments on little endian.
const NUMBER: u32 = 0;
const ARGUMENT: [u32; 3] = [16, 24, 32];

/// All flags of clone(2) that make a namespace.
const NAMESPACES: u32 = 0x7e02_0080;

const CAPABILITY_VERSION: u32 = 0x2008_0522;
const LAST_CAPABILITY: u32 = 40;

/// A filter of system calls.
pub struct Filter(Vec<libc::sock_filter>);

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

impl Filter {
    /// Lets through what is named: but no memory that is both written and executed
    /// (MemoryDenyWriteExecute=), no sockets but local ones, no namespaces.
    pub fn new(names: &BTreeSet<String>) -> Filter {
        let numbers = numbers();
        let of = |name: &str| numbers.iter().find(|(n, _)| n == name).map(|(_, nr)| *nr);
        let (write_exec, exec) = (libc::PROT_WRITE | libc::PROT_EXEC, libc::PROT_EXEC);
        let mut code = vec![instruction(LOAD, 0, 0, NUMBER)];
        let refused = libc::SECCOMP_RET_KILL_PROCESS;
        // Each looks at its call alone and ends there.
        let mut special = |name: &str, body: &[libc::sock_filter]| {
            if let Some(number) = of(name) {
                let skipped = u8::try_from(body.len()).expect("short");
                code.push(instruction(JUMP_EQUAL, 0, skipped, number));
                code.extend(body);
            }
        };
        let verdicts = [
            instruction(RETURN, 0, 0, refused),
            instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let all_bits = |argument: usize, bits: u32| {
            [
                instruction(LOAD, 0, 0, ARGUMENT[argument]),
                instruction(AND, 0, 0, bits),
                instruction(JUMP_EQUAL, 0, 1, bits),
                verdicts[0],
                verdicts[1],
            ]
        };
        special("mmap", &all_bits(2, write_exec as u32));
        special("mprotect", &all_bits(2, exec as u32));
        special(
            "clone",
            &[
                instruction(LOAD, 0, 0, ARGUMENT[0]),
                instruction(JUMP_ANY_BIT, 0, 1, NAMESPACES),
                verdicts[0],
                verdicts[1],
            ],
        );
        // Its flags are in memory, where no filter sees them: RestrictNamespaces= takes it away.
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        special("clone3", &[instruction(RETURN, 0, 0, absent)]);
        special("unshare", &[verdicts[0]]);
        special("setns", &[verdicts[0]]);
        special(
            "socket",
            &[
                instruction(LOAD, 0, 0, ARGUMENT[0]),
                instruction(JUMP_EQUAL, 1, 0, libc::AF_UNIX as u32),
                verdicts[0],
                verdicts[1],
            ],
        );
        for number in names.iter().filter_map(|name| of(name)) {
            code.push(instruction(JUMP_EQUAL, 0, 1, number));
            code.push(verdicts[1]);
        }
        code.push(verdicts[0]);
        Filter(code)
    }
}

/// Names and numbers of the system calls of this machine, as the C compiler knows them.
fn numbers() -> Vec<(String, u32)> {
    let output = Command::new("cc")
        .args([
            "-E",
            "-dM",
            "-include",
            "asm/unistd.h",
            "-x",
            "c",
            "/dev/null",
        ])
        .output()
        .expect("a C compiler, which building takes");
    let text = String::from_utf8(output.stdout).expect("ASCII");
    let lines = text.lines();
    let numbers: Vec<_> = lines
        .filter_map(|line| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((name.to_string(), number.parse().ok()?))
        })
        .collect();
    assert!(numbers.len() > 200, "{text}");
    numbers
}

/// Number of a capability (linux/capability.h) of those that a unit here may name.
pub fn capability(name: &str) -> u32 {
    match name {
        "CAP_DAC_READ_SEARCH" => 2,
        "CAP_SYS_ADMIN" => 21,
        other => panic!("add the number of {other}"),
    }
}

fn check(result: impl Into<i64>) -> io::Result<()> {
    match result.into() {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has `command` start as [`USER`] with these capabilities and no others ever, behind `filter`, in a
/// mount namespace in which `scratch` holds a /dev/fuse for all, as udev makes it.
pub fn confine(command: &mut Command, capabilities: &[u32], filter: Filter, scratch: &Path) {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
    let (place, node) = (text(scratch), text(&scratch.join("fuse")));
    let capabilities = capabilities.to_vec();
    // SAFETY: the closure makes system calls alone, on what it owns.
    unsafe {
        command.pre_exec(move || {
            device_for_all(&place, &node)?;
            become_user(&capabilities)?;
            let program = libc::sock_fprog {
                len: u16::try_from(filter.0.len()).unwrap_or(u16::MAX),
                filter: filter.0.as_ptr().cast_mut(),
            };
            let (one, zero): (c_ulong, c_ulong) = (1, 0);
            check(libc::prctl(
                libc::PR_SET_NO_NEW_PRIVS,
                one,
                zero,
                zero,
                zero,
            ))?;
            let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
            check(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program))
        });
    }
}

/// A /dev/fuse that all may open, seen by this process and its children.
fn device_for_all(place: &CString, node: &CString) -> io::Result<()> {
    let none: *const libc::c_char = std::ptr::null();
    let device = libc::makedev(10, 229);
    // SAFETY: C strings that outlive the calls, and null where mount(2) takes it.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(
            none.cast(),
            c"/".as_ptr(),
            none.cast(),
            private,
            none.cast(),
        ))?;
        let tmpfs = c"tmpfs".as_ptr();
        check(libc::mount(
            tmpfs,
            place.as_ptr(),
            tmpfs,
            0,
            c"mode=0755".as_ptr().cast(),
        ))?;
        check(libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o666, device))?;
        check(libc::chmod(node.as_ptr(), 0o666))?;
        let bind = libc::MS_BIND;
        check(libc::mount(
            node.as_ptr(),
            c"/dev/fuse".as_ptr(),
            none.cast(),
            bind,
            none.cast(),
        ))
    }
}

fn become_user(capabilities: &[u32]) -> io::Result<()> {
    let set = capabilities.iter().fold(0_u64, |set, cap| set | 1 << cap);
    let (low, high) = (set as u32, (set >> 32) as u32);
    let header = [CAPABILITY_VERSION, 0];
    // Effective, permitted, inheritable; low words, then high ones.
    let data = [low, low, low, high, high, high];
    let (one, zero): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: numbers, no groups, and a header and data of ours as version 3 has them.
    unsafe {
        for cap in (0..=LAST_CAPABILITY).filter(|cap| !capabilities.contains(cap)) {
            check(libc::prctl(
                libc::PR_CAPBSET_DROP,
                c_ulong::from(cap),
                zero,
                zero,
                zero,
            ))?;
        }
        check(libc::prctl(libc::PR_SET_KEEPCAPS, one, zero, zero, zero))?;
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(USER, USER, USER))?;
        check(libc::setresuid(USER, USER, USER))?;
        check(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            data.as_ptr(),
        ))?;
        for cap in capabilities {
            let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
            check(libc::prctl(
                libc::PR_CAP_AMBIENT,
                raise,
                c_ulong::from(*cap),
                zero,
                zero,
            ))?;
        }
    }
    Ok(())
}
