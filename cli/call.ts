/** `cio call`: one JSON-RPC call, from a shell. */

import { text } from 'node:stream/consumers'
import { Cio, type OpenRpcDocument, contentLength, json, rpc, rpcFailure } from '../src/index.ts'
import { type Command, UsageError, defineCommand, durationOf } from './command.ts'
import { exitCodes, tellFailure } from './failure.ts'
import { parseJson, showJson } from './format.ts'
import { placeFrom } from './place.ts'
import { escapeUnprintable, progress } from './terminal.ts'
import { tlsOptions, tlsOptionsFrom } from './tls-options.ts'

/** Milliseconds for the answer. */
const callTimeout = 30_000
/** Milliseconds for the server to close its side after the answer. */
const closeTimeout = 1_000

export const call: Command = defineCommand({
  name: 'call',
  says: 'calls a method of a server by JSON-RPC, and prints the result',
  usage: '<host:port | port | path> [method] [params]',
  prose: `The parameters are an array or an object in JSON; - reads them from standard input. The result is
written to standard output as JSON. Without a method, the server is asked for its methods, by OpenRPC's
rpc.discover, and each is a line. The exit code is 0 then; 1 where there was no connection or no
answer; 2 where the command is wrong; 3 where the server answered with an error, which is written to
standard error. Any option of TLS asks for TLS.`,
  options: {
    'content-length': {
      type: 'boolean',
      says: 'messages with a Content-Length header, as language servers use them',
    },
    notify: { type: 'boolean', says: 'sends a notification, which has no answer' },
    json: { type: 'boolean', says: 'writes an error of the server as JSON, too' },
    ...tlsOptions,
    timeout: { type: 'string', value: 'ms', says: 'for connecting, and for the answer; 30000' },
  },
  examples: [
    "cio call localhost:7000 add '[1, 2]'",
    'cio call localhost:7000 status | jq .uptime',
    'cio call localhost:7000 add - --ca certs/ca.crt --key certs/alice.key --cert certs/alice.crt',
  ],
  async run([target, method, params, ...others], values) {
    if (method === undefined && values.notify) throw new UsageError('give the method to notify')
    if (others.length > 0)
      throw new UsageError(`the parameters are one word; ${others[0]} is too much`)
    const place = placeFrom(target, 'localhost', 1)
    const timeout = durationOf('timeout', values.timeout) ?? callTimeout
    const tls = tlsOptionsFrom(values)
    const given = paramsFrom(params === '-' ? await text(process.stdin) : params)

    let failure: Error | undefined
    const fail = (error: Error): void => void (failure ??= error)
    const app = new Cio()
      .on('error', fail)
      .on('remoteError', fail)
      .on('reject', fail)
      .useClient(values['content-length'] ? contentLength() : json())
      .useClient(rpc({ timeout }))
    const connecting = app.connect({
      ...place,
      ...tls,
      connectTimeout: timeout,
      handshakeTimeout: timeout,
    })
    const client = await progress(`connecting to ${target}`, connecting)
    try {
      if (method === undefined) process.stdout.write(listed(await client.rpc.call('rpc.discover')))
      else if (values.notify) await client.rpc.notify(method, given)
      else process.stdout.write(`${showJson(await client.rpc.call(method, given))}\n`)
      return exitCodes.fine
    } catch (error) {
      const refused = rpcFailure(error)
      if (!refused) {
        // If the connection was lost, its own error says why, and is reported when it has closed.
        await client.close({ timeout: closeTimeout })
        return tellFailure('call', failure ?? error)
      }
      if (values.json) process.stderr.write(`${escapeUnprintable(JSON.stringify(refused))}\n`)
      else tellFailure('call', error)
      return exitCodes.answeredError
    } finally {
      // A server that is silent may never close its side. Only a notification may still be on its way.
      await client.close(values.notify ? {} : { timeout: closeTimeout })
    }
  },
})

/** The methods of an OpenRPC document, one a line, as they are called. */
function listed(document: unknown): string {
  try {
    const lines = (document as OpenRpcDocument).methods.map(({ name, params }) => {
      const given = params.map(({ name, required }) => (required ? name : `${name}?`))
      return `${escapeUnprintable(`${name}(${given.join(', ')})`)}\n`
    })
    return lines.join('')
  } catch (cause) {
    throw new Error('the answer to `rpc.discover` is no OpenRPC document', { cause })
  }
}

/** The parameters of JSON-RPC: an array or an object, or none. */
function paramsFrom(given: string | undefined): object | undefined {
  const params = given === undefined ? undefined : parseJson(given)
  if (params === undefined || (typeof params === 'object' && params !== null)) return params
  throw new UsageError(`the parameters are an array or an object, not ${JSON.stringify(params)}`)
}
