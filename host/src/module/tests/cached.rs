//! The compiled cache may be deleted, cut or tampered with at any time.

use std::fs;
use std::path::Path;

use super::*;

fn load(folder: &Path) -> Arc<Module> {
    let engine = Engine::new(Some(folder.to_owned()), EngineOptions::default()).unwrap();
    engine.load(&wasm("payload-format")).unwrap()
}

fn file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn compiles_once_and_again_after_damage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("compiled");
    let first = load(&folder);
    let whole = fs::read(file(&folder)).unwrap();
    assert_eq!(load(&folder).hash(), first.hash());
    assert_eq!(fs::read(file(&folder)).unwrap(), whole);

    let mut bent = whole.clone();
    *bent.last_mut().unwrap() ^= 1;
    for damaged in [&b""[..], &whole[..20], &whole[..whole.len() - 1], &bent] {
        fs::write(file(&folder), damaged).unwrap();
        assert_eq!(load(&folder).name(), "payload-format");
        // Compiling is deterministic but for addresses; what counts is that it is whole.
        assert_eq!(fs::read(file(&folder)).unwrap().len(), whole.len());
    }
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(load(&folder).name(), "payload-format");
}

#[test]
fn takes_no_file_of_another_module_for_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(folder.path().to_owned()), EngineOptions::default()).unwrap();
    engine.load(&wasm("hostile-length")).unwrap();
    let other = file(folder.path());
    engine.load(&wasm("payload-format")).unwrap();
    let files = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path());
    let ours = files.into_iter().find(|path| *path != other).unwrap();
    fs::copy(&other, &ours).unwrap();
    assert_eq!(engine.load(&wasm("payload-format")).unwrap().name(), "payload-format");
}

#[test]
fn keeps_a_bounded_number_of_files() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..140 {
        let leftover = fs::File::create(folder.path().join(format!("{number}.compiled"))).unwrap();
        leftover.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    load(folder.path());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap()).collect();
    assert_eq!(files.len(), 128);
    assert!(files.iter().any(|file| file.metadata().unwrap().len() > 0));
}

#[cfg(unix)]
#[test]
fn is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let mode = fs::metadata(file(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn loads_where_nothing_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    assert_eq!(load(&blocked).name(), "payload-format");
}

#[test]
fn keeps_what_is_in_use_and_lets_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let ours = file(folder.path());
    let long_ago = std::time::UNIX_EPOCH;
    fs::File::open(&ours).unwrap().set_modified(long_ago).unwrap();
    load(folder.path());
    assert!(fs::metadata(&ours).unwrap().modified().unwrap() > long_ago);
}

#[test]
fn takes_a_folder_in_place_of_a_file_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let ours = file(folder.path());
    fs::remove_file(&ours).unwrap();
    fs::create_dir_all(ours.join("deeper")).unwrap();
    assert_eq!(load(folder.path()).name(), "payload-format");
}

#[cfg(unix)]
#[test]
fn loads_from_a_folder_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    load(folder.path());
    let set = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    assert_eq!(load(folder.path()).name(), "payload-format");
    let engine = Engine::new(Some(folder.path().to_owned()), EngineOptions::default()).unwrap();
    assert_eq!(engine.load(&wasm("hostile-length")).unwrap().name(), "hostile-length");
    set(0o700);
}

/// As on a disk that is full: the file cannot be written, whatever the folder allows.
#[test]
fn loads_where_the_disk_is_full() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    // Nothing can be created below a device.
    assert_eq!(load(&full.join("compiled")).name(), "payload-format");
}

#[test]
fn may_be_shared_and_emptied_while_others_load() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("compiled");
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..4 {
                        // An engine of its own, as another process has it.
                        assert_eq!(load(&folder).name(), "payload-format");
                        // It may be gone already, or be made anew meanwhile.
                        let _ = fs::remove_dir_all(&folder);
                    }
                })
            })
            .collect();
        loaders.into_iter().for_each(|loader| loader.join().unwrap());
    });
}
