/** Imports the file of an application, and finds the app in it. */

import { Server } from 'node:net'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Cio, Inspection } from '../src/index.ts'
import { UsageError } from './command.ts'
import { find } from './find.ts'
import { note } from './terminal.ts'

// Milliseconds: enough for tsx to read a large application on a busy machine.
const longestImport = 30_000

/** An app, perhaps of another copy of Cio. */
export type Inspectable = Cio & { inspect(): Inspection }

/** Imports a file, and keeps its output out of the result. */
export async function importQuietly(file: string): Promise<Record<string, unknown>> {
  if (/^\.[cm]?tsx?$/.test(extname(file))) await readTypeScript(file)
  listenNowhere()
  // Output of the app itself must not mix with the result.
  const { log, info } = console
  console.log = console.info = console.error
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const message = `${file} did not finish within ${longestImport} ms; export the app from a file that does not wait`
    timer = setTimeout(() => reject(new Error(message)), longestImport)
  })
  try {
    const importing = import(pathToFileURL(resolve(file)).href) as Promise<Record<string, unknown>>
    return await Promise.race([importing, late])
  } catch (error) {
    throw new Error(`${file} could not be imported: ${(error as Error).message}`, { cause: error })
  } finally {
    clearTimeout(timer)
    Object.assign(console, { log, info })
  }
}

async function readTypeScript(file: string): Promise<void> {
  const tsx = find('tsx')
  // It registers itself.
  if (tsx !== undefined) await import(tsx)
  else if (!(process.features as { typescript?: unknown }).typescript) {
    throw new UsageError(
      `${file} is TypeScript, which this Node does not read: npm install --save-dev tsx, or use Node 22.18 or newer`,
    )
  }
}

/** An inspected app must not disturb one that runs. */
function listenNowhere(): void {
  const listen = Reflect.get(Server.prototype, 'listen') as (...given: unknown[]) => Server
  Server.prototype.listen = function (this: Server, ...given: unknown[]) {
    note('the app listens: it gets a free port instead of its own')
    const done = given.filter((one) => typeof one === 'function')
    return listen.call(this, { port: 0, host: '127.0.0.1' }, ...done)
  }
}

/** The app that a file exports. */
export function appOf(module: Record<string, unknown>, file: string, name?: string): Inspectable {
  const exported = exportsOf(module)
  const chosen = name === undefined ? [exported.default, exported.app] : [exported[name]]
  const app = chosen.find(isInspectable)
  if (app) return app
  const others = Object.keys(exported).filter((one) => isInspectable(exported[one]))
  const what = name === undefined ? 'neither its default export nor `app`' : `not \`${name}\``
  const instead = others.length > 0 ? `; --export ${others.join(' or ')} would do` : ''
  throw new Error(`${file} exports no Cio: ${what}${instead || '; export the app'}`)
}

/**
 * CommonJS that was transpiled from ESM has its exports one level down. tsx does that with
 * TypeScript if no package.json has `"type": "module"`.
 */
function exportsOf(module: Record<string, unknown>): Record<string, unknown> {
  const inner = module.default as { __esModule?: unknown } | null | undefined
  return inner?.__esModule ? { ...module, ...inner } : module
}

/** Detected by its methods: the file may use another copy of Cio. */
function isInspectable(one: unknown): one is Inspectable {
  return typeof (one as Partial<Inspectable> | null | undefined)?.inspect === 'function'
}
