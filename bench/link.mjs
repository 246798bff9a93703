// node bench/link.mjs
//
// Links this clone to `bench/node_modules/cio`, so that the benches import the build of Cio by its
// name, as an application does. The build is a few files; the sources are 200 modules, and their heap
// alone decides how often V8 collects.

import { existsSync, symlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const link = fileURLToPath(new URL('node_modules/cio', import.meta.url))
// Windows needs no rights for a junction; other systems ignore the type.
if (!existsSync(link)) symlinkSync(fileURLToPath(new URL('..', import.meta.url)), link, 'junction')
