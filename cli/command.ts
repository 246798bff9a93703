/** A command. Its options are declared once; parsing, checks and help follow from that. */

import { type ParseArgsConfig, parseArgs } from 'node:util'
import { maxTimerDelay } from '../src/kit.ts'
import { paint } from './terminal.ts'

/** An option of a command. */
export interface Option {
  readonly type: 'boolean' | 'string'
  readonly multiple?: boolean
  readonly short?: string
  /** The name of its value in the help: `file`. */
  readonly value?: string
  readonly says: string
}

type Options = Readonly<Record<string, Option>>

/** The parsed options. */
export type Values<Declared extends Options> = {
  readonly [Name in keyof Declared]?: Declared[Name] extends { type: 'boolean' }
    ? boolean
    : Declared[Name] extends { multiple: true }
      ? string[]
      : string
}

/** The definition of a command. */
export interface Definition<Declared extends Options> {
  readonly name: string
  readonly says: string
  /** The arguments after the name: `<host:port>`. */
  readonly usage: string
  readonly prose?: string
  readonly options: Declared
  readonly examples: readonly string[]
  /** Returns the exit code. */
  readonly run: (positionals: string[], values: Values<Declared>) => Promise<number>
}

/** A command, ready to run. */
export interface Command {
  readonly name: string
  readonly says: string
  readonly help: () => string
  readonly run: (args: readonly string[]) => Promise<number>
}

/** The command line is invalid: exit code 2, and a pointer to the help. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

const helpOption: Option = { type: 'boolean', short: 'h', says: 'says this' }

/** Makes a command that parses its arguments and supports `--help`. */
export function defineCommand<const Declared extends Options>(
  definition: Definition<Declared>,
): Command {
  const options: Options = { ...definition.options, help: helpOption }
  const help = (): string => helpOf(definition, options)
  return {
    name: definition.name,
    says: definition.says,
    help,
    async run(args) {
      const { positionals, values } = parse(args, options)
      if (values.help === true) {
        process.stdout.write(help())
        return 0
      }
      return definition.run(positionals, values as Values<Declared>)
    },
  }
}

/** Parses a count. */
export function numberOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^\d+$/.test(text)) return Number(text)
  throw new UsageError(`--${option} takes a whole number, not ${JSON.stringify(text)}`)
}

/** Parses a duration in milliseconds. Node takes one that is too long for a timer for 1 ms. */
export function durationOf(option: string, text: string | undefined): number | undefined {
  const duration = numberOf(option, text)
  if (duration === undefined || duration <= maxTimerDelay) return duration
  throw new UsageError(`--${option} takes at most ${maxTimerDelay} milliseconds, not ${duration}`)
}

/** The known word that an unknown word probably means. */
export function meant(word: string, known: readonly string[]): string {
  const near = known
    .map((one) => ({ one, distance: distance(word, one) }))
    .toSorted((a, b) => a.distance - b.distance)[0]
  return near && near.distance <= 2 ? `; did you mean ${near.one}?` : ''
}

function parse(
  args: readonly string[],
  options: Options,
): { positionals: string[]; values: Record<string, unknown> } {
  // Node's parser would refuse unknown options with an error of its own.
  const config = Object.fromEntries(
    Object.entries(options).map(([name, { type, multiple = false, short }]) => {
      return [name, { type, multiple, ...(short !== undefined && { short }) }]
    }),
  ) as NonNullable<ParseArgsConfig['options']>
  try {
    return parseArgs({ args: [...args], options: config, allowPositionals: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const [, unknown] = /^Unknown option '([^']+)'/.exec(message) ?? []
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && unknown !== undefined) {
      const known = Object.keys(options).map((name) => `--${name}`)
      throw new UsageError(`there is no option ${unknown}${meant(unknown, known)}`)
    }
    if (!code?.startsWith('ERR_PARSE_ARGS')) throw error
    throw new UsageError(message.split('\n').join(' '))
  }
}

function helpOf(
  { name, says, usage, prose, examples }: Omit<Definition<Options>, 'options' | 'run'>,
  options: Options,
): string {
  const rows = Object.entries(options).map(([option, { short, value, multiple, says }]) => {
    const names = `${short === undefined ? '    ' : `-${short}, `}--${option}`
    const given = value === undefined ? names : `${names} <${value}>`
    return [given, multiple ? `${says}; may be given more than once` : says] as const
  })
  const title = (text: string): string => paint('bold', text, process.stdout)
  return [
    `${title(`cio ${name}`)}: ${says}`,
    '',
    `${title('Usage')}: cio ${name} ${usage}`,
    ...(prose === undefined ? [] : ['', prose]),
    '',
    title('Options'),
    ...table(rows),
    '',
    title('Examples'),
    ...examples.map((example) => `  ${example}`),
    '',
  ].join('\n')
}

/** Two columns. */
export function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([first]) => first.length))
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}`)
}

/** The edit distance: letters to add, remove or replace. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (const [line, letter] of from.split('').entries()) {
    const next = [line + 1]
    for (const [at, other] of to.split('').entries()) {
      const replaced = row[at]! + Number(letter !== other)
      next.push(Math.min(replaced, row[at + 1]! + 1, next[at]! + 1))
    }
    row = next
  }
  return row.at(-1)!
}
