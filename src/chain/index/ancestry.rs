//! Ways along branches: from a block to its ancestors, by skips, and to where two branches part.

use super::{Entry, Id, Index};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

impl Index {
    /// Where the skip of a child of `parent` leads: to the root, if it would lead below.
    pub(super) fn skip_of(&self, parent: Id) -> Id {
        self.ancestor(parent, skip_height(self.slot(parent).height.next()).max(self.root_height()))
    }

    /// The ancestor of `id` at `height`, itself if the height is its own or above; the root, if it is below.
    pub fn ancestor(&self, id: Id, height: Height) -> Id {
        let (mut id, height) = (id, height.max(self.root_height()));
        loop {
            let at = self.slot(id);
            if at.height <= height {
                return id;
            }
            let (skip, next_skip) = (skip_height(at.height), skip_height(at.height.saturating_sub(1)));
            // The parent may have a longer skip that does not go too far.
            let step_first = next_skip.saturating_add(2) < skip && next_skip >= height;
            id = if skip == height || (skip > height && !step_first) { self.skip(id) } else { at.parent };
        }
    }

    /// Where the skip of an entry leads: to the root, if it led below before that was buried.
    fn skip(&self, id: Id) -> Id {
        self.slot(id).skip.max(self.root)
    }

    /// The ancestor of `entry` at `height`, in memory or buried; itself if the height is its own or above. `None` only if
    /// its header is still to come, or the store fails.
    pub fn ancestor_of(&self, entry: &Entry, height: Height) -> Option<Entry> {
        if height >= entry.height {
            return Some(*entry);
        }
        if height < self.root_height() {
            return self.buried.at(height).map(|block| Entry::buried(height, &block));
        }
        self.place(entry).map(|id| self.get(self.ancestor(id, height)))
    }

    /// Whether `entry` is `ancestor` or comes after it.
    pub fn is_on_branch(&self, entry: &Entry, ancestor: &Entry) -> bool {
        match (self.place(entry), self.place(ancestor)) {
            (Some(entry), Some(ancestor)) => self.ancestor(entry, self.slot(ancestor).height) == ancestor,
            (None, Some(_)) => false,
            // What is buried is an ancestor of all above.
            (_, None) => ancestor.height <= entry.height,
        }
    }

    /// The last entry that both branches have.
    pub fn fork(&self, a: &Entry, b: &Entry) -> Entry {
        let (mut a, mut b) = match (self.place(a), self.place(b)) {
            (Some(a), Some(b)) => (a, b),
            // What is buried is an ancestor of all above.
            (Some(_), None) => return *b,
            (None, Some(_)) => return *a,
            (None, None) => return if a.height < b.height { *a } else { *b },
        };
        let height = self.slot(a).height.min(self.slot(b).height);
        (a, b) = (self.ancestor(a, height), self.ancestor(b, height));
        while a != b {
            // Skips of equal heights lead to equal heights: jump while that keeps the branches apart.
            let (skip_a, skip_b) = (self.skip(a), self.skip(b));
            (a, b) = if skip_a != skip_b { (skip_a, skip_b) } else { (self.slot(a).parent, self.slot(b).parent) };
        }
        self.get(a)
    }

    /// The block before `entry`; `None` for genesis, if its header is still to come, or if the store fails.
    pub fn parent(&self, entry: &Entry) -> Option<Entry> {
        let height = entry.height.prev()?;
        self.ancestor_of(entry, height)
    }

    /// `entry`, its parent, and so on down to genesis. Ends early where headers are still to come, or if the store fails.
    pub fn branch(&self, entry: &Entry) -> impl Iterator<Item = Entry> + use<'_> {
        std::iter::successors(Some(*entry), |entry| self.parent(entry))
    }

    /// `id`, its parent, and so on down to the root.
    pub fn line(&self, id: Id) -> impl Iterator<Item = Id> + use<'_> {
        std::iter::successors(Some(id), |id| (*id != self.root).then(|| self.slot(*id).parent))
    }

    /// Hashes from `entry` down to genesis, ten one by one, then at doubling distances: enough for a peer to find
    /// where the branches part.
    pub fn locator(&self, entry: &Entry) -> Vec<BlockHash> {
        let mut hashes = vec![entry.hash];
        let mut at = *entry;
        let mut step = 1;
        while at.height > Height::GENESIS {
            if hashes.len() >= 10 {
                step *= 2;
            }
            let Some(below) = self.ancestor_of(&at, at.height.saturating_sub(step)) else { break };
            hashes.push(below.hash);
            at = below;
        }
        hashes
    }
}

/// Where the skip of a block at `height` leads: the lowest bit or two of the height are cleared, as in Bitcoin Core, so
/// that skips of neighbours land far apart.
fn skip_height(height: Height) -> Height {
    let clear_lowest = |n: u32| n & n.wrapping_sub(1);
    Height::from_u32(match height.as_u32() {
        0..=1 => 0,
        odd if odd & 1 == 1 => clear_lowest(clear_lowest(odd - 1)) + 1,
        even => clear_lowest(even),
    })
}
