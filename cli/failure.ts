/** Prints errors: what happened, and what to do about it. */

import { UsageError } from './command.ts'
import { escapeUnprintable, paint } from './terminal.ts'

/** The exit codes. */
export const exitCodes = { fine: 0, failed: 1, usage: 2, answeredError: 3 } as const

const untrusted = 'give its CA by --ca, or do not verify it, by --insecure'
const advice: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'is something listening there?',
  ENOTFOUND: 'is the name right?',
  EADDRINUSE: 'something else listens there; port 0 takes a free one',
  EACCES: 'ports below 1024 may need more rights',
  ENOENT: 'is the path right?',
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  ERR_TLS_CERT_ALTNAME_INVALID: 'give the name in its certificate by --servername',
  ERR_SSL_WRONG_VERSION_NUMBER: 'does the other side speak TLS at all?',
  ERR_CIO_SYNTAX: 'try --format raw to see what comes',
  ERR_CIO_MESSAGE_TOO_LONG: 'try --format raw to see what comes',
}

/** Prints an error to stderr, and returns the exit code. */
export function tellFailure(command: string, error: unknown): number {
  const { stderr } = process
  const first = error instanceof Error ? error : new Error(String(error))
  const name = command === '' ? 'cio' : `cio ${command}`
  const told = `${paint('red', `${name}:`, stderr)} ${escapeUnprintable(first.message)}`
  const codes = causes(first).map(({ code }) => code)
  const known = codes.find((code) => code !== undefined && code in advice)
  const help = error instanceof UsageError ? `see \`${name} --help\`` : known && advice[known]
  stderr.write([told, ...(help ? [`  ${help}`] : []), ''].join('\n'))
  if (process.env.DEBUG && first.stack) stderr.write(`${first.stack}\n`)
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed
}

function causes(error: Error): NodeJS.ErrnoException[] {
  const cause = error.cause instanceof Error ? causes(error.cause) : []
  const several = error instanceof AggregateError ? error.errors.filter(isError) : []
  return [error, ...cause, ...several]
}

function isError(one: unknown): one is Error {
  return one instanceof Error
}
