//! A folder of a file system that may be on another machine: here FUSE, served by this test.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::thread;

use aiswitch_lock::database::{Database, DatabaseError};
use aiswitch_lock::{FileLockManager, FolderProblem, LockError};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::child;
use crate::database::SCHEMA;
use crate::folders::mounted;

/// The kernel asks with at most so many bytes, see `FUSE_MIN_READ_BUFFER` of `linux/fuse.h`.
const QUESTION_BYTES_MAX: usize = 8_192;
/// Before each question: its length, what is asked, its number, and who asks.
const HEADER_BYTES: usize = 40;
const ENOSYS: i32 = 38;

// What is asked, see `enum fuse_opcode` of `linux/fuse.h`.
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;

/// Answers as an empty folder of this user does.
fn answer(question: u32) -> Result<Vec<u8>, i32> {
    let numbers = |numbers: &[u32], bytes: usize| {
        let mut answer: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        answer.resize(bytes, 0);
        Ok(answer)
    };
    match question {
        // Version 7.31; no reading ahead, no flags, usual queues, 4,096 bytes a write.
        INIT => numbers(&[7, 31, 0, 0, 0, 4_096], 64),
        // How long it holds, and the attributes: their times and sizes, then the mode, the links and whose it is.
        GETATTR => {
            let mut attributes = [0; 26];
            (attributes[4], attributes[19], attributes[20]) = (1, 0o040_700, 2);
            numbers(&attributes, 104)
        }
        STATFS => numbers(&[], 80),
        _ => Err(ENOSYS),
    }
}

/// Serves the file system until it is gone.
fn serve(mut kernel: &File) {
    let mut question = vec![0; QUESTION_BYTES_MAX];
    while let Ok(read @ HEADER_BYTES..) = kernel.read(&mut question) {
        let asked = u32::from_ne_bytes(question[4..8].try_into().expect("four bytes"));
        let (error, body) = match answer(asked) {
            Ok(body) => (0_i32, body),
            Err(error) => (-error, Vec::new()),
        };
        let bytes = u32::try_from(16 + body.len()).expect("a short answer");
        let mut whole = bytes.to_ne_bytes().to_vec();
        whole.extend_from_slice(&error.to_ne_bytes());
        whole.extend_from_slice(&question[8..16]);
        whole.extend_from_slice(&body);
        // What is asked without an answer, such as to forget, takes none.
        drop(kernel.write(&whole[..]));
        question[..read].fill(0);
    }
}

#[test]
fn a_folder_that_may_be_on_another_machine_is_refused_by_locks_and_databases() {
    let test = "network::a_folder_that_may_be_on_another_machine_is_refused_by_locks_and_databases";
    let Some((_, home)) = child::role() else {
        mounted(test, "size=128k,mode=700");
        return;
    };
    let Ok(kernel) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        println!("{test}: skipped, this machine has no FUSE (/dev/fuse)");
        return;
    };
    let far = home.join("far");
    fs::create_dir(&far).unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", kernel.as_raw_fd());
    let options = CString::new(options).unwrap();
    if let Err(error) = mount("far", &far, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
    {
        println!("{test}: skipped, FUSE cannot be mounted here: {error}");
        return;
    }
    thread::scope(|threads| {
        threads.spawn(|| serve(&kernel));
        let refused = FileLockManager::open(&far);
        let problem = FolderProblem::Network { kind: "fuse" };
        assert!(
            matches!(&refused, Err(LockError::Folder { path, problem: found }) if *path == far && *found == problem),
            "{refused:?}"
        );
        let refused = Database::open(far.join("entries.db"), &SCHEMA);
        assert!(
            matches!(&refused, Err(DatabaseError::Network { path, kind: "fuse" }) if *path == far),
            "{refused:?}"
        );
        unmount(&far, UnmountFlags::DETACH).unwrap();
    });
    assert_eq!(fs::read_dir(&far).unwrap().count(), 0);
}
