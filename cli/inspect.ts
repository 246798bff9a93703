/** `cio inspect`: imports an application and prints its pipelines. */

import type { Inspection } from '../src/index.ts'
import { appOf, importQuietly } from './app-file.ts'
import { type Command, UsageError, defineCommand } from './command.ts'
import { exitCodes } from './failure.ts'
import { paint, progress } from './terminal.ts'

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

function toTable(inspection: Inspection): string {
  return String(inspection).replace(/^\S.*$/gm, (title) => paint('bold', title, process.stdout))
}

function toJson({ server, connection, client }: Inspection): string {
  return JSON.stringify({ server, connection, client }, null, 2)
}
