/** What a server makes of bytes that are sent to it as they are. */

import type { ExecutionContext } from 'ava'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import {
  Cio,
  type CioError,
  type MessagesContext,
  type Middleware,
  type ServerContext,
  type StreamContext,
} from '../../src/index.ts'
import { dial, serve } from './serve.ts'
import { recordEvents } from './tls.ts'
import { nextEvent } from './transports.ts'

/** One chunk, or several, each a segment of its own. */
export type Input = string | Buffer | readonly (string | Buffer)[]

/** What a server received, and what the peer did wrong in the end, if anything. */
export interface Received<Message> {
  readonly messages: Message[]
  readonly error: CioError | undefined
}

/** Lets an app have one connection with this input and its end, and closes the app after it. */
export async function feed(t: ExecutionContext, app: Cio, input: Input): Promise<void> {
  let isOver = false
  const over = nextEvent(app, 'close').then(() => (isOver = true))
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.setNoDelay(true)
  let sent = 0
  const hasArrived = (): boolean => isOver || bytesRead(server) >= sent
  for (const chunk of [input].flat()) {
    // The kernel would make one of what comes before the server has read.
    while (!hasArrived()) await turn()
    if (chunk.length > 0) socket.write(chunk)
    sent += Buffer.byteLength(chunk)
  }
  socket.end()
  socket.resume()
  await over
  await app.close({ timeout: 0 })
}

/** Of the only connection there is. */
function bytesRead({ connections }: ServerContext): number {
  const [ctx] = connections
  return ctx?.socket?.bytesRead ?? 0
}

/** The messages that a server receives by a codec, one by one or by `each()`. */
export async function receive<In, Out>(
  t: ExecutionContext,
  codec: Middleware<StreamContext, MessagesContext<In, Out>>,
  input: Input,
  way: 'iterate' | 'each' = 'iterate',
): Promise<Received<In>> {
  const messages: In[] = []
  const app = new Cio()
  app.useConnection(codec).useConnection(async (ctx) => {
    if (way === 'each') return ctx.messages.each((message) => messages.push(message))
    for await (const message of ctx.messages) messages.push(message)
  })
  const told = recordEvents(app)
  await feed(t, app, input)
  if (told.error.length > 0) throw told.error[0]
  return { messages, error: told.remoteError[0] as CioError | undefined }
}

/**
 * The messages of a codec over a stream that gives out these pieces one by one, without a network.
 * Open, the stream does not end: this fulfils when so many messages have come.
 */
export async function receiveHere<In, Out>(
  codec: Middleware<StreamContext, MessagesContext<In, Out>>,
  pieces: Iterable<Buffer>,
  { open }: { readonly open?: number } = {},
): Promise<Received<In>> {
  // Without a network nothing else would get a turn, in the midst of many of these.
  await turn()
  const messages: In[] = []
  const iterator = pieces[Symbol.iterator]()
  const stream = new Duplex({
    highWaterMark: 1,
    read() {
      let next = iterator.next()
      while (!next.done && next.value.length === 0) next = iterator.next()
      if (!next.done) this.push(next.value)
      else if (open === undefined) this.push(null)
    },
    write: (_chunk, _encoding, done) => done(),
  })
  const app = new Cio().useConnection(codec).useConnection(async (ctx) => {
    while (messages.length !== open) {
      const { done, value } = await ctx.messages.next()
      if (done) return
      messages.push(value)
    }
    stream.destroy()
  })
  const told = recordEvents(app)
  await app.handle(stream).closed
  if (told.error.length > 0) throw told.error[0]
  return { messages, error: told.remoteError[0] as CioError | undefined }
}
