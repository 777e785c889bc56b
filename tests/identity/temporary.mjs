// Temporary folders that go away, also when the test process ends before it could clean up.
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

// A program that has just ended may still be writing its last file.
const REMOVE_TRIES_MAX = 5;

/** Makes a folder with `name` in its name; returns `{ folder, remove() }`. */
export async function temporaryFolder(name) {
  const folder = await mkdtemp(path.join(os.tmpdir(), `llmos-${name}-`));
  const remove = () => {
    process.removeListener('exit', remove);
    rmSync(folder, { recursive: true, force: true, maxRetries: REMOVE_TRIES_MAX });
  };
  process.once('exit', remove);
  return { folder, remove };
}
