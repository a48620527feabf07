// Files that are shared, kept in IndexedDB so that they are shared again when the page is opened again. The browser keeps
// their bytes on its disk, and reads them piece by piece. A file that is read again gets its CID anew, so one that was
// damaged is noticed.

/** Files that a page shares. Their bytes are bounded by what the module takes. */
const MAX_FILES = 100;

const shelf = {
    /** Turns to what is kept for a network: what was shared on one is no business of another's nodes. Whether that is another. */
    turnTo(network) {
        if (this.network === network) return false;
        this.network = network;
        this.database = undefined;
        return true;
    },
    /** Does something with the store of files, each by its CID: the result, once it is on the disk. */
    async change(mode, act) {
        this.database ??= new Promise((resolve, reject) => {
            const opening = indexedDB.open(`cairn shared ${this.network}`, 1);
            opening.onupgradeneeded = () => opening.result.createObjectStore("files");
            opening.onsuccess = () => resolve(opening.result);
            opening.onerror = () => reject(opening.error);
        });
        const transaction = (await this.database).transaction("files", mode);
        const request = act(transaction.objectStore("files"));
        return new Promise((resolve, reject) => {
            transaction.oncomplete = () => resolve(request.result);
            transaction.onabort = () => reject(transaction.error);
        });
    },
    /** All files: CID, name and a blob of each; none, if the browser has no place for them. */
    all() {
        return this.change("readonly", (store) => store.getAll()).catch(() => []);
    },
    /** Keeps a file: whether the browser had room for it. */
    keep(file) {
        const put = this.change("readwrite", (store) => store.put(file, file.cid));
        return put.then(() => true, () => false);
    },
    drop(cid) {
        return this.remove((store) => store.delete(cid));
    },
    clear() {
        return this.remove((store) => store.clear());
    },
    /** Fails if it would come back. A browser that keeps nothing has nothing to remove. */
    remove(act) {
        return this.change("readwrite", act).catch((error) => {
            if (this.database) throw new Error(`this browser still keeps what was shared: ${error.message}`);
        });
    },
};
