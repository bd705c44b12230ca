//! The part of the pickle language that state dicts use, over a heap of plain values.
//!
//! Values refer to each other by number, so that neither cycles nor deep nests can harm.

use std::collections::HashMap;

use crate::error::Broken;

/// A value's number.
pub(super) type Id = usize;

/// What a program made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Nothing,
    Truth,
    Int(i64),
    Text(String),
    /// A tuple or list.
    Row(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name of Python's: module, then name.
    Global(String, String),
    /// What stands for data outside of the program.
    Outside(Id),
    /// Tensor: storage, offset, sizes, strides.
    Tensor([Id; 4]),
    /// Anything else that only stands there: numbers with a point, bytes, long numbers.
    Other,
}

/// Everything a program made, and which of it is the result.
pub(super) struct Heap {
    pub items: Vec<Item>,
    pub root: Id,
}

impl Heap {
    pub fn get(&self, id: Id) -> &Item {
        &self.items[id]
    }
}

struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    items: Vec<Item>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

/// Runs a program; gives what it made and how long the program is.
pub(super) fn run(program: &[u8]) -> Result<(Heap, usize), Broken> {
    let mut machine = Machine {
        program,
        at: 0,
        items: vec![],
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    let heap = Heap {
        items: machine.items,
        root,
    };
    Ok((heap, machine.at))
}

impl Machine<'_> {
    fn wrong(&self, what: &str) -> Broken {
        Broken::new(format!("pickle at byte {}: {what}", self.at))
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Broken> {
        let end = self
            .at
            .checked_add(count)
            .filter(|&end| end <= self.program.len());
        let Some(end) = end else {
            return Err(self.wrong("the program ends too early: copy or download the file again"));
        };
        let bytes = &self.program[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    /// A little-endian number of `count` bytes.
    fn number(&mut self, count: usize) -> Result<usize, Broken> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    }

    fn line(&mut self) -> Result<String, Broken> {
        let rest = &self.program[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.wrong("a line does not end"));
        };
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn text(&mut self, size: usize) -> Result<Item, Broken> {
        let bytes = self.take(size)?.to_vec();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Item::Text(text)),
            Err(_) => Err(self.wrong("a text is not UTF-8")),
        }
    }

    fn push(&mut self, item: Item) {
        self.items.push(item);
        self.stack.push(self.items.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, Broken> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => Err(self.wrong("it takes more than there is")),
        }
    }

    fn top(&self) -> Result<Id, Broken> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| self.wrong("it takes more than there is"))
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>, Broken> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.wrong("there is no mark")),
        }
    }

    fn row(&mut self, count: usize) -> Result<(), Broken> {
        let mut row = vec![];
        for _ in 0..count {
            row.push(self.pop()?);
        }
        row.reverse();
        self.push(Item::Row(row));
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), Broken> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), Broken> {
        match self.memo.get(&place) {
            Some(&id) => self.stack.push(id),
            None => return Err(self.wrong("it recalls what was never remembered")),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<Id>) -> Result<(), Broken> {
        let top = self.top()?;
        match &mut self.items[top] {
            Item::Dict(dict) if pairs.len().is_multiple_of(2) => {
                dict.extend(pairs.chunks(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => Err(self.wrong("entries for something that is no dict")),
        }
    }

    fn append(&mut self, more: Vec<Id>) -> Result<(), Broken> {
        let top = self.top()?;
        match &mut self.items[top] {
            Item::Row(row) => {
                row.extend(more);
                Ok(())
            }
            _ => Err(self.wrong("elements for something that is no list")),
        }
    }

    /// A call: only those that state dicts need are known, and none is made.
    fn call(&mut self) -> Result<(), Broken> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Item::Global(module, name), Item::Row(arguments)) =
            (&self.items[function], &self.items[arguments])
        else {
            return Err(self.wrong("a call of something that is no function"));
        };
        let made = match (&**module, &**name, &**arguments) {
            ("collections", "OrderedDict", []) => Item::Dict(vec![]),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor", &[a, b, c, d, ..]) => {
                Item::Tensor([a, b, c, d])
            }
            ("torch._utils", "_rebuild_parameter", &[tensor, ..]) => self.items[tensor].clone(),
            ("torch", "Size", &[sizes]) => self.items[sizes].clone(),
            _ => {
                let what =
                    format!("it calls `{module}.{name}`, which is no part of weights: refused");
                return Err(self.wrong(&what));
            }
        };
        self.push(made);
        Ok(())
    }

    /// One instruction; true behind the last.
    fn step(&mut self) -> Result<bool, Broken> {
        let code = self.take(1)?[0];
        match code {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Item::Nothing),
            0x88 | 0x89 => self.push(Item::Truth),
            b'J' => {
                let value = self.number(4)? as u32;
                self.push(Item::Int(i64::from(value.cast_signed())));
            }
            b'K' | b'M' => {
                let value = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Item::Int(value as i64));
            }
            0x8a => {
                let size = self.number(1)?;
                let bytes = self.take(size)?.to_vec();
                self.push(long(&bytes));
            }
            b'G' => {
                self.take(8)?;
                self.push(Item::Other);
            }
            b'X' | b'T' => {
                let size = self.number(4)?;
                let text = self.text(size)?;
                self.push(text);
            }
            0x8c | b'U' => {
                let size = self.number(1)?;
                let text = self.text(size)?;
                self.push(text);
            }
            b'B' | b'C' => {
                let size = self.number(if code == b'B' { 4 } else { 1 })?;
                self.take(size)?;
                self.push(Item::Other);
            }
            b'}' => self.push(Item::Dict(vec![])),
            b']' | b')' => self.push(Item::Row(vec![])),
            b't' | b'l' => {
                let row = self.marked()?;
                self.push(Item::Row(row));
            }
            0x85..=0x87 => self.row(usize::from(code) - 0x84)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Item::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Item::Text(module), Item::Text(name)) =
                    (&self.items[module], &self.items[name])
                else {
                    return Err(self.wrong("a name that is no text"));
                };
                let global = Item::Global(module.clone(), name.clone());
                self.push(global);
            }
            b'q' | b'r' => {
                let place = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' | b'j' => {
                let place = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(place)?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Item::Outside(id));
            }
            b'R' => self.call()?,
            // The state of an ordered dict (its `_metadata`) is nothing to us.
            b'b' => drop(self.pop()?),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let pairs = self.marked()?;
                self.set_items(pairs)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' => {
                let more = self.marked()?;
                self.append(more)?;
            }
            b'0' => drop(self.pop()?),
            _ => {
                let what = format!("instruction {code:#04x} is no part of state dicts: refused");
                return Err(self.wrong(&what));
            }
        }
        Ok(false)
    }
}

/// A number of any length in two's complement.
fn long(bytes: &[u8]) -> Item {
    if bytes.len() > 8 {
        return Item::Other;
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Item::Int(i64::from_le_bytes(wide))
}
