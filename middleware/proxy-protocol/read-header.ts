/** Reads the PROXY header of a trusted sender. */

import { leaveUnread } from '../../src/streams/reading.ts'
import { nothingSaid } from '../../src/connection-end.ts'
import { CioError, asError } from '../../src/errors.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { HeaderReader } from './header-reader.ts'
import type { Proxied } from './proxied.ts'

/** Reads a header, and puts the bytes after it back into the stream. */
export function readHeader(
  ctx: ConnectionContext,
  timeout: number,
  maxSize: number,
): Promise<Proxied> {
  const { stream, remote } = ctx
  const gathering = new HeaderReader(maxSize)
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      stream.off('readable', read)
      stream.off('end', end)
      stream.off('close', end)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const read = (): void => {
      try {
        const gathered = gathering.takeFrom(stream)
        if (!gathered) return
        settle()
        // At once: if the end has arrived too, Node emits it as soon as nothing is left to read.
        leaveUnread(stream, gathered.rest)
        ctx.preambleSize = gathering.size - gathered.rest.length
        resolve(gathered.proxied)
      } catch (thrown) {
        fail(headerError(`${remote} sent a malformed PROXY header: ${asError(thrown).message}`))
      }
    }
    const end = (): void => {
      // A health check that only connects.
      if (gathering.size === 0) return fail(nothingSaid(remote, ctx.broken ?? null))
      const came = `${gathering.size} bytes`
      fail(
        ctx.broken ??
          headerError(
            `${remote} closed the connection before its PROXY header was complete: ${came} arrived`,
          ),
      )
    }
    const timer =
      timeout === Infinity ? undefined : setTimeout(() => fail(late(remote, timeout)), timeout)

    if (stream.readableEnded || stream.destroyed) return end()
    stream.on('readable', read)
    stream.on('end', end)
    // Added before the listeners that end the pipeline on `close`.
    stream.prependListener('close', end)
  })
}

function headerError(message: string): CioError {
  return new CioError('ERR_CIO_PROXY_HEADER', message, { fault: 'remote' })
}

function late(remote: string, timeout: number): CioError {
  const message = `the PROXY header of ${remote} did not arrive within ${timeout} ms`
  return new CioError('ERR_CIO_PROXY_HEADER_TIMEOUT', message, { fault: 'remote' })
}
