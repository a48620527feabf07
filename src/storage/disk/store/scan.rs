//! Scans: what is not on the disk yet and what is there, seen as one.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::PoisonError;

use super::Shared;
use crate::storage::disk::changes::Change;
use crate::storage::disk::pages::{self, Pages};
use crate::storage::disk::value::{Stored, Value};
use crate::storage::{StoreError, Visitor};

/// Changes of a window that a scan copies at once.
const UNWRITTEN_AT_ONCE: usize = 64;

/// Changes that are not on the disk yet: the value of each key, `None` if it is removed.
type Unwritten = BTreeMap<Vec<u8>, Option<Value>>;

impl Shared {
    /// [`Store::scan`](crate::storage::Store::scan).
    pub(super) fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        let mut from = prefix.max(from).to_vec();
        loop {
            // First the changes in memory, then the disk: an entry written in between is seen twice, not missed. The visitor
            // mostly wants few, so what is in memory is copied a part at a time.
            let (recent, end) = self.unwritten_under(prefix, &from, UNWRITTEN_AT_ONCE);
            let is_due = |key: &[u8]| key.starts_with(prefix) && end.as_ref().is_none_or(|end| key <= &end[..]);
            let flow = self.merge(recent, from, is_due, visit)?;
            match end {
                Some(end) if flow.is_continue() => from = [&end[..], &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    /// [`Store::scan_back`](crate::storage::Store::scan_back).
    pub(super) fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        // In the same order as in a scan forwards.
        let (recent, _) = self.unwritten_under(prefix, prefix, usize::MAX);
        let recent = recent.into_iter().rev().filter(|(key, _)| &key[..] < before);
        let mut disk = DiskScanBack::new(&self.pages, before);
        let disk = || Ok(disk.next()?.filter(|(key, _)| key.starts_with(prefix)));
        self.merge_back(recent, disk, visit)
    }

    /// What is not on the disk yet under `prefix` from `from` on: the value of each key, `None` if it is removed. Of each window
    /// at most `most`: if there are more, the key up to which this is all comes with it.
    fn unwritten_under(&self, prefix: &[u8], from: &[u8], most: usize) -> (Unwritten, Option<Vec<u8>>) {
        let recent = self.windows.read().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut end) = (Unwritten::new(), None);
        for window in [&*recent.writing, &recent.pending] {
            let (mut taken, mut last) = (0, None);
            for Change { key, value, .. } in window.range(prefix, from).take(most) {
                (taken, last) = (taken + 1, Some(key));
                found.insert(key.to_vec(), value.map(Stored::to_value));
            }
            if taken == most {
                end = end.into_iter().chain(last).min();
            }
        }
        let end = end.map(<[u8]>::to_vec);
        if let Some(end) = &end {
            found.retain(|key, _| key <= end);
        }
        (found, end)
    }

    /// Visits what is not on the disk yet and what is from a key on, as one, in the order of keys. Where both have a key, the
    /// disk's value is out of date. The disk's entries end at the first that is not due.
    fn merge(
        &self,
        recent: Unwritten,
        mut from: Vec<u8>,
        is_due: impl Fn(&[u8]) -> bool,
        visit: Visitor<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let (mut recent, mut names) = (recent.into_iter().peekable(), None);
        'pages: loop {
            let (mut page, last) = self.pages.page_at(&from, &mut names)?;
            while let Some((key, value)) = page.next(&self.pages)? {
                if !is_due(key) {
                    break 'pages;
                }
                let mut is_old = false;
                while let Some((newer, value)) = recent.next_if(|(newer, _)| &newer[..] <= key) {
                    is_old = newer == key;
                    if self.show(&newer, value.as_ref().map(Value::as_stored), visit)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                if !is_old && self.show(key, Some(value), visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let Some(last) = last else { break };
            // The least key after the last of the page.
            from = [&last[..], &[0]].concat();
        }
        for (key, value) in recent {
            if self.show(&key, value.as_ref().map(Value::as_stored), visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The same from the last key to the first. Both come in this order; the disk's entries end at the first `None`.
    fn merge_back(
        &self,
        recent: impl Iterator<Item = (Vec<u8>, Option<Value>)>,
        mut disk: impl FnMut() -> Result<Option<(Vec<u8>, Value)>, StoreError>,
        visit: Visitor<'_>,
    ) -> Result<(), StoreError> {
        let mut recent = recent.peekable();
        let mut on_disk = disk()?;
        loop {
            let is_first = |key: &Vec<u8>| on_disk.as_ref().is_none_or(|(other, _)| key >= other);
            let (key, value) = match recent.next_if(|(key, _)| is_first(key)) {
                Some((key, value)) => {
                    if on_disk.as_ref().is_some_and(|(other, _)| key == *other) {
                        on_disk = disk()?;
                    }
                    (key, value)
                }
                None => {
                    let Some((key, value)) = on_disk.take() else { return Ok(()) };
                    on_disk = disk()?;
                    (key, Some(value))
                }
            };
            if self.show(&key, value.as_ref().map(Value::as_stored), visit)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Shows an entry to the visitor, unless it is removed, or its value was pruned since it was found.
    fn show(&self, key: &[u8], value: Option<Stored<'_>>, visit: Visitor<'_>) -> Result<ControlFlow<()>, StoreError> {
        let large;
        let value = match value {
            Some(Stored::Small(bytes)) => Some(bytes),
            Some(Stored::Large(place)) => {
                large = self.large.read(place)?;
                large.as_deref()
            }
            None => None,
        };
        Ok(value.map_or(ControlFlow::Continue(()), |value| visit(key, value)))
    }
}

/// The entries on the disk before a key, the last first, a page at a time.
struct DiskScanBack<'a> {
    pages: &'a Pages,
    before: Vec<u8>,
    /// The page to read next; `None` after the first of all.
    page: Option<Vec<u8>>,
    /// Those of a page, in the order of keys.
    entries: Vec<(Vec<u8>, Value)>,
}

impl<'a> DiskScanBack<'a> {
    fn new(pages: &'a Pages, before: &[u8]) -> Self {
        Self { pages, before: before.to_vec(), page: Some(pages::name(before)), entries: Vec::new() }
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, Value)>, StoreError> {
        loop {
            if let Some(entry) = self.entries.pop() {
                return Ok(Some(entry));
            }
            let Some(page) = self.page.take() else { return Ok(None) };
            (self.entries, self.page) = self.pages.page_back(&page, &self.before)?;
            // If that page goes meanwhile, the one that was just read is found in its place.
            if let Some(last) = self.page.as_deref().and_then(pages::last_key) {
                self.before = [last, &[0]].concat().min(std::mem::take(&mut self.before));
            }
        }
    }
}
