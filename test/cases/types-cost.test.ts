/**
 * A user waits for `tsc` at each save. What a chain of middleware costs the compiler grows with its
 * length and no faster: each `use` adds to the type of the context, and a type that were computed anew
 * from the first would grow with the square. Instantiations are counted, since they are the same on
 * every machine; seconds are not.
 */

import test from 'ava'
import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
/** Today 49. */
const mostForEach = 75

test('tsc on 20 and on 40 chained middleware costs a bounded number of instantiations for each', async (t) => {
  const none = await instantiations(t.teardown, 0)
  for (const count of [20, 40]) {
    const each = ((await instantiations(t.teardown, count)) - none) / count
    t.log(`${each.toFixed(1)} instantiations for each of ${count}`)
    t.true(each > 0 && each < mostForEach, `${each}`)
  }
})

/** Of an app with so many middleware, of which each adds a property that the last one reads. */
async function instantiations(
  teardown: (task: () => Promise<void>) => void,
  count: number,
): Promise<number> {
  // Within the repository, where the types of Node are found.
  const folder = join(root, 'build', `chain-${process.pid}-${count}`)
  await mkdir(folder, { recursive: true })
  teardown(() => rm(folder, { recursive: true }))
  const names = Array.from({ length: count }, (_, index) => `m${index}`)
  const app = `import { Cio, type StreamContext, defineMiddleware } from 'cio'
    function adds<Name extends string>(name: Name) {
      return defineMiddleware<StreamContext, { readonly [key in Name]: string }>({ name }, (_, next) => next())
    }
    export const app = new Cio()${names.map((name) => `.useConnection(adds('${name}'))`).join('\n')}
      .useConnection((ctx, next) => {
        ${names.map((name) => `ctx.${name}.at(0)`).join('\n')}
        return next()
      })`
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '../..', isolatedDeclarations: false, declaration: false },
    include: ['app.ts'],
    exclude: [],
  }
  await writeFile(join(folder, 'app.ts'), app)
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const { stdout } = await promisify(execFile)(process.execPath, [
    tsc,
    '-p',
    folder,
    '--extendedDiagnostics',
  ])
  return Number(/Instantiations: +(\d+)/.exec(stdout)?.[1])
}
