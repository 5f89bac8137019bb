//! A disk below SQLite that remembers every write, so that a power cut can be tried at each of
//! them, and that fails on demand.
//!
//! It stands before SQLite's own file system and passes everything on; what happens to files
//! of a directory that is watched is noted down first. Shared memory is not: it does not
//! outlive a power cut, and SQLite does not count on it.
#![allow(unsafe_code)] // SQLite's interface to file systems is one of C: tables of functions.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::ffi;

/// What happened to a file, by its name.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(String, u64, Vec<u8>),
    Truncate(String, u64),
    Sync(String),
    Delete(String),
}

/// A directory that is watched.
#[derive(Default)]
pub(super) struct Disk {
    steps: Mutex<Vec<Step>>,
    fails_flushes: AtomicBool,
    /// Writes until the disk is full; below zero it never is.
    room: AtomicI64,
}

type Disks = Mutex<HashMap<PathBuf, Arc<Disk>>>;

fn disks() -> MutexGuard<'static, HashMap<PathBuf, Arc<Disk>>> {
    static DISKS: OnceLock<Disks> = OnceLock::new();
    DISKS.get_or_init(Disks::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Watches databases that are opened in `dir` from now on.
    pub(super) fn below(dir: &Path) -> Arc<Self> {
        register();
        let disk = Arc::new(Self { room: AtomicI64::new(-1), ..Self::default() });
        disks().insert(dir.canonicalize().unwrap(), disk.clone());
        disk
    }

    /// How much has happened.
    pub(super) fn steps(&self) -> usize {
        self.log().len()
    }

    /// All that has happened.
    pub(super) fn log(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap()
    }

    /// From now on a flush reports an error.
    pub(super) fn fail_flushes(&self) {
        self.fails_flushes.store(true, Ordering::SeqCst);
    }

    /// Takes so many more writes and is full then; `None`: there is room again.
    pub(super) fn leave_room(&self, writes: Option<i64>) {
        self.room.store(writes.unwrap_or(-1), Ordering::SeqCst);
    }

    fn is_full(&self) -> bool {
        let left = |room: i64| (room > 0).then(|| room - 1);
        match self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => false,
            Err(room) => room == 0,
        }
    }

    fn note(&self, step: Step) {
        self.log().push(step);
    }
}

/// A file that is open. SQLite's own file lies behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Null where nobody watches.
    watched: *mut Watched,
}

struct Watched {
    disk: Arc<Disk>,
    name: String,
}

/// SQLite's own file system.
fn real() -> *mut ffi::sqlite3_vfs {
    static REAL: OnceLock<usize> = OnceLock::new();
    // SAFETY: no name asks for the default, which exists in every build for Unix and lives as
    // long as the process.
    let find = || unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) }.expose_provenance();
    std::ptr::with_exposed_provenance_mut(*REAL.get_or_init(find))
}

fn register() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        // SAFETY: the default's description is copied, with our own place for files in front
        // of its; what is not replaced does not depend on which description it is called by.
        unsafe {
            let mut vfs = *real();
            vfs.szOsFile += c_int::try_from(size_of::<File>()).unwrap();
            vfs.pNext = std::ptr::null_mut();
            vfs.zName = c"watched".as_ptr();
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            // Never freed: SQLite keeps it for as long as the process lives.
            let vfs = Box::into_raw(Box::new(vfs));
            assert_eq!(ffi::sqlite3_vfs_register(vfs, 1), ffi::SQLITE_OK);
        }
    });
}

/// The disk that a file is on, and its name there.
///
/// # Safety
/// `path` is null or a string of C.
unsafe fn place(path: *const c_char) -> Option<Watched> {
    if path.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    let path = PathBuf::from(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let disk = disks().get(path.parent()?)?.clone();
    Some(Watched { disk, name: path.file_name()?.to_str()?.to_owned() })
}

/// SQLite's own file behind ours.
///
/// # Safety
/// `file` was opened by [`open`].
unsafe fn behind(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allots `szOsFile` bytes, which are ours and then its own.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// # Safety
/// `file` was opened by [`open`].
unsafe fn watched<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Watched> {
    // SAFETY: set by `open`, freed by `close` alone.
    unsafe { (*file.cast::<File>()).watched.as_ref() }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's own arguments, to its own function; `file` has room for both files.
    unsafe {
        let inner = behind(file);
        let code = (*real()).xOpen.unwrap()(real(), path, inner, flags, out);
        let opened = !(*inner).pMethods.is_null();
        let place = if opened { place(path) } else { None };
        let watched = place.map_or(std::ptr::null_mut(), |place| Box::into_raw(Box::new(place)));
        let methods = if opened { &raw const METHODS } else { std::ptr::null() };
        file.cast::<File>().write(File { base: ffi::sqlite3_file { pMethods: methods }, watched });
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite's own arguments, to its own function.
    unsafe {
        if let Some(Watched { disk, name }) = place(path) {
            disk.note(Step::Delete(name));
        }
        (*real()).xDelete.unwrap()(real(), path, sync)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and does not use it again.
    unsafe {
        let watched = (*file.cast::<File>()).watched;
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        let inner = behind(file);
        (*(*inner).pMethods).xClose.unwrap()(inner)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's own arguments, to its own function; `bytes` holds `count` of them.
    unsafe {
        if let Some(Watched { disk, name }) = watched(file) {
            if disk.is_full() {
                return ffi::SQLITE_FULL;
            }
            let length = usize::try_from(count).unwrap();
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length);
            disk.note(Step::Write(name.clone(), u64::try_from(at).unwrap(), bytes.to_vec()));
        }
        let inner = behind(file);
        (*(*inner).pMethods).xWrite.unwrap()(inner, bytes, count, at)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's own arguments, to its own function.
    unsafe {
        if let Some(Watched { disk, name }) = watched(file) {
            disk.note(Step::Truncate(name.clone(), u64::try_from(size).unwrap()));
        }
        let inner = behind(file);
        (*(*inner).pMethods).xTruncate.unwrap()(inner, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's own arguments, to its own function.
    unsafe {
        if let Some(Watched { disk, .. }) = watched(file)
            && disk.fails_flushes.load(Ordering::SeqCst)
        {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        let inner = behind(file);
        let code = (*(*inner).pMethods).xSync.unwrap()(inner, flags);
        if let Some(Watched { disk, name }) = watched(file) {
            disk.note(Step::Sync(name.clone()));
        }
        code
    }
}

/// A function that only passes its arguments on.
macro_rules! pass {
    ($name:ident, $method:ident $(, $argument:ident: $kind:ty)* => $result:ty) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> $result {
            // SAFETY: SQLite's own arguments, to its own function.
            unsafe {
                let inner = behind(file);
                (*(*inner).pMethods).$method.unwrap()(inner $(, $argument)*)
            }
        }
    };
}

pass!(read, xRead, to: *mut c_void, count: c_int, at: ffi::sqlite3_int64 => c_int);
pass!(file_size, xFileSize, size: *mut ffi::sqlite3_int64 => c_int);
pass!(lock, xLock, level: c_int => c_int);
pass!(unlock, xUnlock, level: c_int => c_int);
pass!(check_reserved, xCheckReservedLock, out: *mut c_int => c_int);
pass!(file_control, xFileControl, op: c_int, argument: *mut c_void => c_int);
pass!(sector_size, xSectorSize => c_int);
pass!(characteristics, xDeviceCharacteristics => c_int);
pass!(shm_map, xShmMap, page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void => c_int);
pass!(shm_lock, xShmLock, offset: c_int, count: c_int, flags: c_int => c_int);
pass!(shm_barrier, xShmBarrier => ());
pass!(shm_unmap, xShmUnmap, delete: c_int => c_int);

/// Version 2: without mapping the database into memory, which would be written past us.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
