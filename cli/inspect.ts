/** `cio inspect`: imports an application and prints its pipelines. */

import { Server } from 'node:net'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Inspection } from '../src/index.ts'
import { type Command, UsageError, defineCommand } from './command.ts'
import { exitCodes } from './failure.ts'
import { find } from './find.ts'
import { note, paint, progress } from './terminal.ts'

// Enough for tsx to read a large application on a busy machine.
const longestImport = 30_000

export const inspect: Command = defineCommand({
  name: 'inspect',
  says: 'prints the pipelines of an application in their order, and why',
  usage: '<file>',
  prose: `The file's default export, or its export \`app\`, is a Cio. It is imported, so what stands
at its top level runs; what it listens on there is a free port of this host instead.
TypeScript is read by tsx, where the project has it, or by Node itself from 22.18 on.`,
  options: {
    export: { type: 'string', value: 'name', says: 'which export is the app' },
    json: { type: 'boolean', says: 'prints JSON, for programs' },
  },
  examples: ['cio inspect app.ts', 'cio inspect --json server.js | jq .connection'],
  async run([file, ...others], { export: name, json }) {
    if (file === undefined || others.length > 0) throw new UsageError('it takes one file')
    const module = await progress(`importing ${file}`, importQuietly(file))
    const inspection = appOf(module, file, name).inspect()
    process.stdout.write(`${json ? toJson(inspection) : toTable(inspection)}\n`)
    return exitCodes.fine
  },
})

interface Inspectable {
  inspect(): Inspection
}

async function importQuietly(file: string): Promise<Record<string, unknown>> {
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
      `${file} is TypeScript, which this Node does not read: npm install --save-dev tsx, or take Node 22.18 or newer`,
    )
  }
}

/** An inspected app must not disturb one that runs. */
function listenNowhere(): void {
  const listen = Reflect.get(Server.prototype, 'listen') as (...given: unknown[]) => Server
  Server.prototype.listen = function (this: Server, ...given: unknown[]) {
    note('it listens; a free port takes the place of its own')
    const done = given.filter((one) => typeof one === 'function')
    return listen.call(this, { port: 0, host: '127.0.0.1' }, ...done)
  }
}

function appOf(module: Record<string, unknown>, file: string, name?: string): Inspectable {
  const chosen = name === undefined ? [module.default, module.app] : [module[name]]
  // CommonJS that was transpiled from ESM has its default one level down.
  const nested = chosen.flatMap((one) => [one, (one as { default?: unknown } | null)?.default])
  const app = nested.find(isInspectable)
  if (app) return app
  const others = Object.keys(module).filter((one) => isInspectable(module[one]))
  const what = name === undefined ? 'neither its default export nor `app`' : `not \`${name}\``
  const instead = others.length > 0 ? `; --export ${others.join(' or ')} would do` : ''
  throw new Error(`${file} exports no Cio: ${what}${instead || '; export the app'}`)
}

/** Detected by its methods: the file may use another copy of Cio. */
function isInspectable(one: unknown): one is Inspectable {
  return typeof (one as Partial<Inspectable> | null | undefined)?.inspect === 'function'
}

function toTable(inspection: Inspection): string {
  return String(inspection).replace(/^\S.*$/gm, (title) => paint('bold', title, process.stdout))
}

function toJson({ server, connection, client }: Inspection): string {
  return JSON.stringify({ server, connection, client }, null, 2)
}
