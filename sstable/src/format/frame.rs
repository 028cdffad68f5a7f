//! Frames: the shape that data, index, top index, filter and statistics share.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of identity, offset, bytes 4.. |
//! | 4 | 1 | kind |
//! | 5 | 3 | zero |
//! | 8 | 4 | first section, raw length |
//! | 12 | 4 | first section, stored length |
//! | 16 | 4 | second section, raw length |
//! | 20 | 4 | second section, stored length |
//! | 24 | … | first section, second section, each a sequence of chunks |
//!
//! Both [`Packer`] and [`Unpacker`] work in steps of one chunk, so that their caller can pause between them.

use crc32fast::Hasher;
use lz4_flex::block::{self, CompressTable};

use super::{What, u32_at};

/// Bytes before the first section.
pub(crate) const HEADER_LEN: usize = 24;
const _: () = assert!(HEADER_LEN == 4 + 1 + 3 + 4 * 4);

/// Raw bytes of a chunk, except a section's last.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;

/// Raw bytes of a section at most.
pub(crate) const SECTION_BYTES_MAX: usize = 256 << 20;

/// LZ4 cannot do better than this, so a larger claim is damage, found before anything is allocated for it.
const RATIO_MAX: u64 = 255;

/// The bit of a chunk's length that says it is stored raw.
const RAW: u32 = 1 << 31;

/// Bytes hashed or copied in one step.
const STEP_BYTES: usize = 256 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Data = 1,
    Index = 2,
    Top = 3,
    Filter = 4,
    Statistics = 5,
}

/// How chunks are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 blocks, where that makes them smaller.
    #[default]
    Lz4,
}

impl From<model::Compression> for Compression {
    fn from(option: model::Compression) -> Self {
        match option {
            model::Compression::None => Compression::None,
            // What a table may ask for beyond these is stored as LZ4 by this version.
            _ => Compression::Lz4,
        }
    }
}

/// Which file a frame belongs to: the start of every checksum in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity(u32);

impl Identity {
    pub(crate) fn new(host_id: &[u8; 16], generation: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(host_id);
        hasher.update(&generation.to_le_bytes());
        Identity(hasher.finalize())
    }

    /// A checksum that has taken in the identity and the frame's place.
    fn hasher(self, offset: u64) -> Hasher {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(&offset.to_le_bytes());
        hasher
    }
}

/// Puts frames together, one at a time, one chunk a step.
pub(crate) struct Packer {
    kind: Kind,
    sections: [Vec<u8>; 2],
    /// The section and the raw offset in it that come next.
    next: (usize, usize),
    stored: [usize; 2],
    payload: Hasher,
    out: Vec<u8>,
    table: CompressTable,
    scratch: Vec<u8>,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Packer {
            kind: Kind::Data,
            sections: [Vec::new(), Vec::new()],
            next: (2, 0),
            stored: [0; 2],
            payload: Hasher::new(),
            out: Vec::new(),
            table: CompressTable::small(),
            scratch: vec![0; block::get_maximum_output_size(CHUNK_BYTES)],
        }
    }

    /// Begins a frame. The sections' bytes are taken and empty vectors with some capacity left in their place.
    pub(crate) fn start(&mut self, kind: Kind, first: &mut Vec<u8>, second: &mut Vec<u8>) {
        assert!(self.next.0 == 2, "a frame is begun before the last one is complete");
        self.kind = kind;
        for (own, given) in self.sections.iter_mut().zip([first, second]) {
            own.clear();
            std::mem::swap(own, given);
            assert!(
                own.len() <= SECTION_BYTES_MAX,
                "a section of {} bytes is too long",
                own.len()
            );
        }
        self.next = (0, 0);
        self.stored = [0; 2];
        self.payload = Hasher::new();
        self.out.clear();
        self.out.resize(HEADER_LEN, 0);
    }

    /// Packs the next chunk; when none is left, completes the frame with its header and returns it.
    pub(crate) fn step(&mut self, compression: Compression, identity: Identity, offset: u64) -> Option<&[u8]> {
        let (section, at) = self.next;
        if section == 2 {
            return None;
        }
        let raw = &self.sections[section][at..];
        if raw.is_empty() {
            self.next = (section + 1, 0);
            if section == 1 {
                self.complete(identity, offset);
                return Some(&self.out);
            }
            return self.step(compression, identity, offset);
        }
        let raw = &raw[..raw.len().min(CHUNK_BYTES)];
        let begin = self.out.len();
        let packed = match compression {
            Compression::Lz4 => block::compress_into_with_table(raw, &mut self.scratch, &mut self.table)
                .ok()
                .filter(|packed| *packed < raw.len()),
            Compression::None => None,
        };
        match packed {
            Some(len) => {
                self.out.extend_from_slice(&(len as u32).to_le_bytes());
                self.out.extend_from_slice(&self.scratch[..len]);
            }
            None => {
                self.out.extend_from_slice(&(raw.len() as u32 | RAW).to_le_bytes());
                self.out.extend_from_slice(raw);
            }
        }
        self.payload.update(&self.out[begin..]);
        self.stored[section] += self.out.len() - begin;
        self.next = (section, at + raw.len());
        // An ordinary frame is two chunks: finish it with its last one.
        if at + raw.len() == self.sections[section].len() && (section == 1 || self.sections[1].is_empty()) {
            self.next = (2, 0);
            self.complete(identity, offset);
            return Some(&self.out);
        }
        None
    }

    /// The frame that was completed last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out
    }

    fn complete(&mut self, identity: Identity, offset: u64) {
        self.next = (2, 0);
        self.out[4] = self.kind as u8;
        for i in 0..2 {
            let raw = self.sections[i].len() as u32;
            self.out[8 + 8 * i..][..4].copy_from_slice(&raw.to_le_bytes());
            self.out[12 + 8 * i..][..4].copy_from_slice(&(self.stored[i] as u32).to_le_bytes());
        }
        let mut hasher = identity.hasher(offset);
        hasher.update(&self.out[4..HEADER_LEN]);
        hasher.combine(&self.payload);
        self.out[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}

/// The lengths that a frame's header claims, bounded but not yet under a verified checksum.
#[derive(Clone, Copy, Debug)]
struct Header {
    raw: [usize; 2],
    stored: [usize; 2],
}

fn header(frame: &[u8], kind: Kind) -> Result<Header, What> {
    if frame.len() < HEADER_LEN {
        return Err("a frame is shorter than its header");
    }
    if frame[4] != kind as u8 {
        return Err("a frame of another kind stands here");
    }
    if frame[5..8] != [0; 3] {
        return Err("reserved bytes of a frame are not zero");
    }
    let field = |at| u32_at(frame, at).unwrap_or(0) as usize;
    let header = Header {
        raw: [field(8), field(16)],
        stored: [field(12), field(20)],
    };
    if header.stored[0] + header.stored[1] + HEADER_LEN != frame.len() {
        return Err("a frame's sections do not fill it");
    }
    for i in 0..2 {
        let (raw, stored) = (header.raw[i], header.stored[i]);
        if raw > SECTION_BYTES_MAX || raw as u64 > stored as u64 * RATIO_MAX || (raw == 0) != (stored == 0) {
            return Err("a frame's section claims an impossible length");
        }
    }
    Ok(header)
}

/// Checks and decompresses one frame, a step at a time.
pub(crate) struct Unpacker<'a> {
    frame: &'a [u8],
    header: Header,
    hasher: Hasher,
    hashed: usize,
    /// The section that is being decompressed, and where its next chunk begins in the frame.
    section: usize,
    at: usize,
    out: [Vec<u8>; 2],
}

impl<'a> Unpacker<'a> {
    pub(crate) fn new(frame: &'a [u8], kind: Kind, identity: Identity, offset: u64) -> Result<Self, What> {
        Self::into_memory(frame, kind, identity, offset, [Vec::new(), Vec::new()])
    }

    /// As [`new`](Self::new), into the memory of sections that are no longer needed.
    pub(crate) fn into_memory(
        frame: &'a [u8],
        kind: Kind,
        identity: Identity,
        offset: u64,
        mut out: [Vec<u8>; 2],
    ) -> Result<Self, What> {
        out.iter_mut().for_each(Vec::clear);
        if frame.len() < HEADER_LEN {
            return Err("a frame is shorter than its header");
        }
        // Nothing is allocated before the checksum is verified, even where that takes several steps.
        let mut this = Unpacker {
            frame,
            header: Header {
                raw: [0; 2],
                stored: [0; 2],
            },
            hasher: identity.hasher(offset),
            hashed: 4,
            section: 0,
            at: HEADER_LEN,
            out,
        };
        this.hash()?;
        this.header = header(frame, kind)?;
        if this.hashed == frame.len() {
            this.reserve();
        }
        Ok(this)
    }

    /// Hashes some; compares when all is hashed.
    fn hash(&mut self) -> Result<(), What> {
        let end = self.frame.len().min(self.hashed + STEP_BYTES);
        self.hasher.update(&self.frame[self.hashed..end]);
        self.hashed = end;
        // Fuzz targets are to reach what stands behind it.
        let wrong = || !cfg!(fuzzing) && Some(self.hasher.clone().finalize()) != u32_at(self.frame, 0);
        if end == self.frame.len() && wrong() {
            return Err("a frame's checksum is wrong");
        }
        Ok(())
    }

    fn reserve(&mut self) {
        for (out, raw) in self.out.iter_mut().zip(self.header.raw) {
            out.reserve_exact(raw);
        }
    }

    /// One step: true when the frame is unpacked.
    pub(crate) fn step(&mut self) -> Result<bool, What> {
        if self.hashed < self.frame.len() {
            self.hash()?;
            if self.hashed == self.frame.len() {
                self.reserve();
            }
            return Ok(false);
        }
        while self.section < 2 && self.out[self.section].len() == self.header.raw[self.section] {
            let end = HEADER_LEN + self.header.stored[..=self.section].iter().sum::<usize>();
            if self.at != end {
                return Err("bytes follow a section's last chunk");
            }
            self.section += 1;
        }
        if self.section == 2 {
            return Ok(true);
        }
        let out = &mut self.out[self.section];
        let end = HEADER_LEN + self.header.stored[..=self.section].iter().sum::<usize>();
        let chunk = self
            .frame
            .get(self.at..end)
            .and_then(|rest| u32_at(rest, 0))
            .ok_or("a chunk is cut off")?;
        let len = (chunk & !RAW) as usize;
        let begin = self.at + 4;
        let stored = begin
            .checked_add(len)
            .filter(|e| *e <= end)
            .map(|e| &self.frame[begin..e]);
        let stored = stored.ok_or("a chunk is longer than its section")?;
        let raw_len = (self.header.raw[self.section] - out.len()).min(CHUNK_BYTES);
        if chunk & RAW != 0 {
            if len != raw_len {
                return Err("a raw chunk has the wrong length");
            }
            out.extend_from_slice(stored);
        } else {
            let from = out.len();
            out.resize(from + raw_len, 0);
            match block::decompress_into(stored, &mut out[from..]) {
                Ok(n) if n == raw_len => {}
                _ => return Err("a chunk does not decompress"),
            }
        }
        self.at = begin + len;
        let done = self.section == 1 || self.header.raw[1] == 0;
        if done && self.out[self.section].len() == self.header.raw[self.section] {
            return self.step();
        }
        Ok(false)
    }

    /// Both sections, after [`step`](Self::step) has said true.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let [first, second] = self.out;
        (first, second)
    }
}

/// Checks and decompresses a frame in one go, for offline tools and tests.
pub(crate) fn unpack(frame: &[u8], kind: Kind, identity: Identity, offset: u64) -> Result<(Vec<u8>, Vec<u8>), What> {
    let mut unpacker = Unpacker::new(frame, kind, identity, offset)?;
    while !unpacker.step()? {}
    Ok(unpacker.finish())
}
