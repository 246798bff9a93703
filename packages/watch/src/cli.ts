/** `cio top` and `cio why`, which the command line of Cio loads. */

import { once } from 'node:events'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { isIP } from 'node:net'
import { createInterface } from 'node:readline'
import { urlToHttpOptions } from 'node:url'
import type { ServerAdmission } from './admissions.ts'
import type { Explanation } from './explain.ts'
import type { ConnectionPage } from './rows.ts'
import type { Snapshot } from './snapshot.ts'
import { admissionText, certificatesIn } from './terminal/admission.ts'
import { explanationText } from './terminal/explanation.ts'
import type { Paint } from './terminal/paint.ts'
import { clean } from './text.ts'
import { topText } from './terminal/top.ts'

/** The destination and the form of the output. */
export interface Terminal {
  readonly output: NodeJS.WritableStream & { readonly isTTY?: boolean }
  /** The current size, since a window may change it. `Infinity` without a terminal. */
  readonly columns: number
  readonly rows: number
  readonly paint: Paint
}

/** Options of both commands. */
export interface CommandOptions {
  /** The path of the socket that `watching.listen()` made, or the address with the token. */
  readonly at: string
  /** Whether to print JSON, for programs. */
  readonly json: boolean
  readonly terminal: Terminal
}

/**
 * Shows the pipeline and the connections of a running server: again each second on a terminal, until
 * Ctrl-C; once elsewhere. Fulfils with the exit code.
 */
export async function top(options: CommandOptions): Promise<number> {
  const { at } = options
  const stream = await ask(at, '/events')
  const isOver = await showEvents(stream, options).catch((error: Error) => {
    throw new Error(`${at} answers no more: ${error.message}`, { cause: error })
  })
  if (!isOver) throw new Error(`the server at ${at} has ended`)
  return 0
}

/** Fulfils with whether all was shown: the server may end before. */
async function showEvents(
  stream: IncomingMessage,
  { at, json, terminal }: CommandOptions,
): Promise<boolean> {
  const { output } = terminal
  // The server wrote the first event before it looked, so that event has no rates.
  let events = 0
  for await (const line of createInterface(stream)) {
    if (!line.startsWith('data: ')) continue
    events += 1
    const isLive = output.isTTY === true && !json
    if (!isLive && events < 3) continue
    const { snapshot } = JSON.parse(line.slice('data: '.length)) as { snapshot: Snapshot }
    const limit = isLive ? terminal.rows : 20
    const connections = await get<ConnectionPage>(at, `/connections?limit=${limit}`)
    if (json) output.write(`${JSON.stringify({ snapshot, connections })}\n`)
    else {
      const text = topText(snapshot, connections, terminal, isLive)
      output.write(isLive ? over(text) : text)
    }
    if (isLive) continue
    stream.destroy()
    return true
  }
  return false
}

/** Replaces the previous screen without an empty screen in between. */
function over(text: string): string {
  return `\u001B[H${text.replaceAll('\n', '\u001B[K\n')}\u001B[J`
}

/**
 * Explains the newest connection of a name, an address or a number. Fulfils with 1 if there is none.
 */
export async function why(
  subject: string,
  { at, json, terminal }: CommandOptions,
): Promise<number> {
  const key = /^\d+$/.test(subject) ? 'id' : isIP(subject) > 0 ? 'address' : 'name'
  const query = new URLSearchParams({ [key]: subject })
  const found = await get<Explanation | null>(at, `/explain?${query}`)
  const { output, paint } = terminal
  if (json) output.write(`${JSON.stringify(found)}\n`)
  else if (found) output.write(explanationText(found, paint))
  else output.write(`no connection of ${clean(subject)} is open or remembered\n`)
  return found ? 0 : 1
}

/**
 * Prints whether a server would admit the certificate in a file, by its current trust and lists.
 * Fulfils with 1 unless all servers of the process would.
 */
export async function whyCert(
  file: string,
  { at, json, terminal, servername }: CommandOptions & { readonly servername?: string | undefined },
): Promise<number> {
  const certificates = await certificatesIn(file)
  const query = servername === undefined ? '' : `?${new URLSearchParams({ servername })}`
  const servers = await get<ServerAdmission[]>(
    at,
    `/admission${query}`,
    certificates.map(String).join(''),
  )
  const { output, paint } = terminal
  output.write(
    json ? `${JSON.stringify(servers)}\n` : admissionText(certificates[0]!, servers, paint),
  )
  return servers.length > 0 && servers.every(({ admitted }) => admitted === true) ? 0 : 1
}

/** Events come once a second: a server that is silent for so long stands still. */
const patience = 10_000

/** @param body Sent, if given. */
async function get<Answer>(at: string, path: string, body?: string): Promise<Answer> {
  const response = await ask(at, path, body)
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return JSON.parse(text) as Answer
}

async function ask(at: string, path: string, body?: string): Promise<IncomingMessage> {
  const method = body === undefined ? 'GET' : 'POST'
  const sent = request({ ...placeOf(at), method, path, agent: false, timeout: patience })
  const silence = new Error(
    `${at} has not answered for ${patience / 1_000} s; its event loop may be busy or blocked`,
  )
  let answer: IncomingMessage | undefined
  sent.on('timeout', () => (answer ?? sent).destroy(silence))
  sent.end(body)
  const [response] = (await once(sent, 'response').catch((error: Error) => {
    if (error === silence) throw error
    const message = `${at} cannot be asked: ${error.message}; give the path of the socket that \`watching.listen()\` made, or the address with the token`
    throw new Error(message, { cause: error })
  })) as [IncomingMessage]
  answer = response
  // The response tells of it, too.
  sent.on('error', () => {})
  if (response.statusCode === 200) return response
  let text = ''
  for await (const chunk of response) text += String(chunk)
  throw new Error(`${at} says ${response.statusCode}: ${clean(text.trim())}`)
}

function placeOf(at: string): RequestOptions {
  if (!URL.canParse(at)) return { socketPath: at, headers: { host: 'localhost' } }
  const url = new URL(at)
  const { protocol, searchParams } = url
  if (protocol !== 'http:') throw new Error(`${at} is neither a path nor an address with http:`)
  const token = searchParams.get('token')
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  // A URL has an IPv6 address in brackets, and a resolver takes it without.
  const { hostname, port } = urlToHttpOptions(url)
  return { hostname, port, headers }
}
