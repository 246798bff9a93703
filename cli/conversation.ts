/** Pipes standard input to a connection, and the connection to standard output. */

import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type MessagesContext, type StreamContext } from '../src/index.ts'
import { chunksOf } from '../src/kit.ts'
import { UsageError } from './command.ts'
import type { Format } from './format.ts'
import { note } from './terminal.ts'

/** How a conversation ends. */
export interface Ending {
  /** Milliseconds without a byte, after the end of the input, until it gives up. */
  readonly wait: number | undefined
}

/**
 * Sends the input, ends this side after it, and prints the output until the other side ends.
 *
 * @throws `UsageError`: a line of the input does not have the format
 */
export async function converse(
  ctx: StreamContext,
  format: Format,
  { wait }: Ending,
): Promise<void> {
  let inputEnded = false
  let timer: NodeJS.Timeout | undefined
  const patience = (): void => {
    clearTimeout(timer)
    if (!inputEnded || wait === undefined) return
    timer = setTimeout(() => ctx.destroy(new Error(`nothing came for ${wait} ms`)), wait)
  }
  const sending = send(ctx, format).then(() => {
    inputEnded = true
    patience()
  })
  const receiving = (async () => {
    for await (const message of incoming(ctx, format)) {
      patience()
      await show(format.toShow(message))
    }
  })()
  try {
    // After the other side has ended, nothing receives what is sent.
    await Promise.race([receiving, sending.then(() => receiving)])
  } finally {
    clearTimeout(timer)
    sending.catch(() => {})
    receiving.catch(() => {})
  }
  if (!inputEnded && !process.stdin.isTTY) note('the other side ended before the input did')
}

async function send(ctx: StreamContext, format: Format): Promise<void> {
  const { stdin } = process
  const input = format.byLine ? createInterface({ input: stdin }) : stdin
  let line = 0
  for await (const piece of input as AsyncIterable<string | Buffer>) {
    line += 1
    try {
      const message = format.toSend(piece)
      if (message !== undefined) await put(ctx, format, message)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      if (!stdin.isTTY) throw new UsageError(`line ${line} of the input: ${error.message}`)
      note(error.message)
    }
  }
  ctx.stream.end()
}

async function put(ctx: StreamContext, format: Format, message: unknown): Promise<void> {
  if (format.codec) return (ctx as StreamContext & MessagesContext<unknown>).messages.send(message)
  // The other side has ended, and this side after it.
  if (!ctx.stream.writable || ctx.stream.write(message)) return
  await once(ctx.stream, 'drain', { signal: ctx.signal })
}

function incoming(ctx: StreamContext, format: Format): AsyncIterable<unknown> {
  if (format.codec) return (ctx as StreamContext & MessagesContext<unknown>).messages
  return chunksOf(ctx.stream)
}

async function show(output: string | Buffer): Promise<void> {
  if (!process.stdout.write(output)) await once(process.stdout, 'drain')
}
