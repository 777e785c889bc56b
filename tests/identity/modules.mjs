// The packages live outside of the repository, in the folder that LLMOS_TEST_NODE_MODULES names, and an ESM import
// looks for node_modules beside and above the importing file only. So they are found here, once, for every file.
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.env.LLMOS_TEST_NODE_MODULES;

// Without the variable the usual rules hold, for whoever ran `npm ci` right here. `require` looks into the folder
// node_modules beside the file it is made for, whether that file exists or not.
const from = folder ? path.join(path.dirname(path.resolve(folder)), 'from.cjs') : import.meta.url;
if (folder && path.basename(path.resolve(folder)) !== 'node_modules') {
  throw new Error(`LLMOS_TEST_NODE_MODULES must name a folder called node_modules, not ${folder}`);
}
const { resolve } = createRequire(from);

const load = (name) => import(pathToFileURL(resolve(name)).href);

const provider = await load('oidc-provider');
const playwright = await load('playwright-core');

export const Provider = provider.default;
export const { interactionPolicy } = provider;
export const chromium = playwright.chromium ?? playwright.default.chromium;
