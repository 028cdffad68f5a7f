//! The bytes of a file to import: plain, or gzip of one or many members, told apart by how they begin.

use crate::{
    failure::{Done, Failure},
    files,
};
use flate2::bufread::MultiGzDecoder;
use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
};

const BUFFER_BYTES: usize = 256 << 10;

/// A file open for one pass.
pub struct Input {
    /// Its bytes, unpacked.
    pub bytes: Box<dyn BufRead>,
    /// How many bytes of the file have been read.
    pub done: Rc<Cell<u64>>,
    /// The file's length.
    pub len: u64,
}

impl Input {
    /// Opens `path` at its beginning.
    pub fn open(path: &Path) -> Done<Input> {
        let open = || -> io::Result<(File, u64, bool)> {
            let file = files::open(path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata.len(), metadata.is_file()))
        };
        let (file, len, plain) = open().map_err(|e| Failure::file(path, "cannot be opened", e))?;
        if !plain {
            return Err(Failure::new(format_args!(
                "{}: not a plain file: an import reads it twice",
                path.display()
            )));
        }
        let done = Rc::new(Cell::new(0));
        let mut bytes = BufReader::with_capacity(
            BUFFER_BYTES,
            Counted {
                file,
                done: done.clone(),
            },
        );
        let start = bytes.fill_buf().map_err(|e| Failure::file(path, "cannot be read", e))?;
        let is_gzip = start.starts_with(&[0x1f, 0x8b]);
        let named_gzip = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        if named_gzip && !is_gzip {
            return Err(Failure::new(format_args!(
                "{}: named as gzip, but its content is not gzip",
                path.display()
            )));
        }
        let bytes: Box<dyn BufRead> = match is_gzip {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(bytes))),
            false => Box::new(bytes),
        };
        Ok(Input { bytes, done, len })
    }
}

struct Counted {
    file: File,
    done: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buf)?;
        self.done.set(self.done.get() + len as u64);
        Ok(len)
    }
}
