//! FlatBuffers, as far as TFLite files have them: tables that name their fields by offsets. No offset and no length is believed
//! before it was checked, and nothing is followed deeper than the caller asks for.
//!
//! Parts of a damaged file may lie upon each other, so that a small file describes a large network. What is read and made
//! of it is therefore counted and bounded by the length of the file.

use std::cell::Cell;

use bytes::Bytes;

use crate::error::Broken;

/// A file's bytes, and how much may still be made of them.
pub(super) struct File {
    bytes: Bytes,
    left: Cell<usize>,
}

/// Most bytes that are read and made of each byte of a file: bytes may become numbers of four, and a few layers may share weights.
const MOST: usize = 32;

/// What may be made of an empty file.
const FREE: usize = 1 << 20;

impl File {
    pub fn new(bytes: Bytes) -> Self {
        let left = Cell::new(bytes.len().saturating_mul(MOST).saturating_add(FREE));
        Self { bytes, left }
    }

    /// The table that the file begins with.
    pub fn root(&self) -> Result<Table<'_>, Broken> {
        Table::at(self, self.follow(0)?)
    }

    /// Counts bytes that are about to be read or made.
    pub fn charge(&self, bytes: usize) -> Result<(), Broken> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            Broken::new(
                "damaged: its parts lie upon each other, more would be made of it than there is",
            )
        })?;
        self.left.set(left);
        Ok(())
    }

    /// So many bytes from here on.
    pub fn cut(&self, at: usize, count: usize) -> Result<&[u8], Broken> {
        let end = at.checked_add(count);
        let cut = end.and_then(|end| self.bytes.get(at..end));
        cut.ok_or_else(|| {
            let length = self.bytes.len();
            Broken::new(format!(
                "damaged or cut off: {count} bytes at {at} are asked for, the file has {length}"
            ))
        })
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Broken> {
        Ok(*self.cut(at, N)?.first_chunk().expect("so many were cut"))
    }

    /// Where the offset that lies here leads.
    fn follow(&self, at: usize) -> Result<usize, Broken> {
        let offset = u32::from_le_bytes(self.array(at)?) as usize;
        Ok(at.saturating_add(offset))
    }
}

/// A table of a file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    file: &'a File,
    at: usize,
    /// Bytes of the table, its fields' offsets count from its beginning.
    size: usize,
    /// Two bytes a field: where it lies in the table, 0 when it was left out.
    places: &'a [u8],
}

impl<'a> Table<'a> {
    fn at(file: &'a File, at: usize) -> Result<Self, Broken> {
        let back = i64::from(i32::from_le_bytes(file.array(at)?));
        let vtable = (at as i64).checked_sub(back);
        let vtable = vtable.and_then(|vtable| usize::try_from(vtable).ok());
        let damaged = || Broken::new(format!("damaged: no table lies at byte {at}"));
        let vtable = vtable.ok_or_else(damaged)?;
        let length = usize::from(u16::from_le_bytes(file.array(vtable)?));
        let size = usize::from(u16::from_le_bytes(file.array(vtable + 2)?));
        let places = length.checked_sub(4).ok_or_else(damaged)?;
        file.cut(at, size)?;
        Ok(Self {
            file,
            at,
            size,
            places: file.cut(vtable + 4, places)?,
        })
    }

    /// Where a field of so many bytes lies; nothing when it was left out.
    fn place(&self, field: usize, bytes: usize) -> Result<Option<usize>, Broken> {
        let places = self.places.as_chunks().0;
        let offset = places
            .get(field)
            .map_or(0, |&place| u16::from_le_bytes(place));
        let offset = usize::from(offset);
        if offset == 0 {
            return Ok(None);
        }
        if offset + bytes > self.size {
            let at = self.at;
            return Err(Broken::new(format!(
                "damaged: field {field} of the table at byte {at} lies outside of it"
            )));
        }
        Ok(Some(self.at + offset))
    }

    fn array<const N: usize>(&self, field: usize) -> Result<Option<[u8; N]>, Broken> {
        let place = self.place(field, N)?;
        place.map(|at| self.file.array(at)).transpose()
    }

    pub fn byte(&self, field: usize, default: i8) -> Result<i8, Broken> {
        Ok(self.array(field)?.map_or(default, i8::from_le_bytes))
    }

    pub fn int(&self, field: usize, default: i32) -> Result<i32, Broken> {
        Ok(self.array(field)?.map_or(default, i32::from_le_bytes))
    }

    /// A number of another table; 0 when it was left out.
    pub fn index(&self, field: usize) -> Result<usize, Broken> {
        Ok(self.array(field)?.map_or(0, u32::from_le_bytes) as usize)
    }

    pub fn long(&self, field: usize) -> Result<u64, Broken> {
        Ok(self.array(field)?.map_or(0, u64::from_le_bytes))
    }

    pub fn float(&self, field: usize, default: f32) -> Result<f32, Broken> {
        Ok(self.array(field)?.map_or(default, f32::from_le_bytes))
    }

    pub fn table(&self, field: usize) -> Result<Option<Self>, Broken> {
        let place = self.place(field, 4)?;
        place
            .map(|at| Self::at(self.file, self.file.follow(at)?))
            .transpose()
    }

    /// Where the elements of a list lie, and how many there are.
    fn elements(&self, field: usize) -> Result<(usize, usize), Broken> {
        let Some(place) = self.place(field, 4)? else {
            return Ok((0, 0));
        };
        let at = self.file.follow(place)?;
        let count = u32::from_le_bytes(self.file.array(at)?) as usize;
        Ok((at + 4, count))
    }

    /// The elements of a list, each of so many bytes; none when it was left out.
    fn list<const N: usize>(&self, field: usize) -> Result<&'a [[u8; N]], Broken> {
        let (at, count) = self.elements(field)?;
        let cut = self.file.cut(at, count.saturating_mul(N))?;
        self.file.charge(cut.len())?;
        Ok(cut.as_chunks().0)
    }

    pub fn ints(&self, field: usize) -> Result<Vec<i32>, Broken> {
        let list = self.list(field)?.iter();
        Ok(list.map(|&element| i32::from_le_bytes(element)).collect())
    }

    pub fn longs(&self, field: usize) -> Result<Vec<i64>, Broken> {
        let list = self.list(field)?.iter();
        Ok(list.map(|&element| i64::from_le_bytes(element)).collect())
    }

    pub fn floats(&self, field: usize) -> Result<Vec<f32>, Broken> {
        let list = self.list(field)?.iter();
        Ok(list.map(|&element| f32::from_le_bytes(element)).collect())
    }

    /// Bytes where they lie, which costs nothing.
    pub fn bytes(&self, field: usize) -> Result<&'a [u8], Broken> {
        let (at, count) = self.elements(field)?;
        self.file.cut(at, count)
    }

    /// A text; empty when it was left out or is none.
    pub fn text(&self, field: usize) -> Result<&'a str, Broken> {
        let bytes = self.list::<1>(field)?.as_flattened();
        Ok(std::str::from_utf8(bytes).unwrap_or(""))
    }

    pub fn tables(&self, field: usize) -> Result<Tables<'a>, Broken> {
        let (start, count) = self.elements(field)?;
        self.file.cut(start, count.saturating_mul(4))?;
        let file = self.file;
        Ok(Tables { file, start, count })
    }
}

/// A list of tables, each looked at when it is asked for.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    file: &'a File,
    start: usize,
    count: usize,
}

impl<'a> Tables<'a> {
    pub fn len(&self) -> usize {
        self.count
    }

    /// The table of a number; `what` is it called when there is none.
    pub fn get(&self, index: usize, what: &str) -> Result<Table<'a>, Broken> {
        if index >= self.count {
            let count = self.count;
            return Err(Broken::new(format!(
                "damaged: {what} {index} is asked for, there are {count}"
            )));
        }
        Table::at(self.file, self.file.follow(self.start + 4 * index)?)
    }
}
