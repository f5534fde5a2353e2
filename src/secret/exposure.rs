//! Exposure of a file with a secret to other users of this machine, who could read or replace it.

use std::path::Path;

/// The permission bits of `path` if every user can read or write it and enter all directories above
/// it.
#[cfg(unix)]
pub fn exposed_mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS_READ_OR_WRITE: u32 = 0o006;
    const OTHERS_ENTER: u32 = 0o001;
    // The permissions of a link's target apply.
    let path = path.canonicalize().ok()?;
    let mode = |path: &Path| {
        path.metadata()
            .ok()
            .map(|found| found.permissions().mode() & 0o7777)
    };
    let exposed = mode(&path).filter(|mode| mode & OTHERS_READ_OR_WRITE != 0)?;
    let is_open = |directory: &Path| mode(directory).is_some_and(|mode| mode & OTHERS_ENTER != 0);
    path.ancestors().skip(1).all(is_open).then_some(exposed)
}

/// Permissions of other systems are not checked.
#[cfg(not(unix))]
pub fn exposed_mode(_: &Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn mode_bits_and_parent_directories_decide_exposure() {
        // Every user may enter /tmp, but perhaps not TMPDIR.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let (file, link) = (
            directory.path().join("secret"),
            directory.path().join("link"),
        );
        fs::write(&file, "s3cret").unwrap();
        symlink(&file, &link).unwrap();
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (outer, inner, exposed) in [
            (0o755, 0o644, Some(0o644)),
            (0o711, 0o604, Some(0o604)),
            (0o755, 0o602, Some(0o602)),
            (0o755, 0o640, None),
            (0o755, 0o400, None),
            (0o700, 0o644, None),
            (0o750, 0o666, None),
        ] {
            set(&file, inner);
            set(directory.path(), outer);
            assert_eq!(exposed_mode(&file), exposed, "{outer:o} {inner:o}");
            assert_eq!(exposed_mode(&link), exposed, "{outer:o} {inner:o}");
        }
        assert_eq!(exposed_mode(&directory.path().join("none")), None);
    }
}
