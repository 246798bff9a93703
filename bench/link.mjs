// node bench/link.mjs
//
// Makes the package `bench/node_modules/cio` of the build of this clone, so that the benches import Cio
// by its name, as an application does. The build is a few files; the sources are 200 modules, and their
// heap alone decides how often V8 collects.

import { copyFileSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const at = (path) => fileURLToPath(new URL(path, import.meta.url))

mkdirSync(at('node_modules/cio'), { recursive: true })
copyFileSync(at('../package.json'), at('node_modules/cio/package.json'))
// Not a link to the clone itself, which would contain itself. Windows needs no rights for a junction;
// other systems ignore the type.
const link = at('node_modules/cio/dist')
rmSync(link, { force: true, recursive: true })
symlinkSync(at('../dist'), link, 'junction')
