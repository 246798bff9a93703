// `node --import <this>` runs the TypeScript of the clone: the tests, and the programs that they start.
// tsx does so too, and takes half a second of processor time more for each process.

import module from 'node:module'

const hooks = new URL('typescript-hooks.mjs', import.meta.url).href
// Node 20 has hooks in a thread of their own alone.
if (module.registerHooks) module.registerHooks(await import(hooks))
else module.register(hooks)

// So that stacks have the lines of the sources.
process.setSourceMapsEnabled(true)
