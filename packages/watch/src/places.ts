/** Servers, targets and pipelines as attributes: `server.address`, `server.port`, `network.transport`. */

import type { ClientContext, ServerContext } from 'cio'
import type { Place } from './instruments.ts'

/** Connections from `app.handle()`, or from a server without its own socket. */
export const pipe: Place = { key: 'pipe', attributes: { 'network.transport': 'pipe' } }

/** The pipelines as attributes. */
export const pipelines: Readonly<Record<'connection' | 'client', Place>> = {
  connection: { key: 'connection', attributes: { 'cio.pipeline': 'connection' } },
  client: { key: 'client', attributes: { 'cio.pipeline': 'client' } },
}

const known = new WeakMap<ServerContext, Place>()

/** The place where a server first listened. A server that pauses keeps it. */
export function placeOfServer(server: ServerContext): Place {
  const place = known.get(server)
  if (place) return place
  const { address } = server
  if (address === null) return pipe
  const made: Place =
    typeof address === 'string'
      ? { key: address, attributes: { 'server.address': address, 'network.transport': 'unix' } }
      : {
          key: joined(address.address, address.port),
          attributes: {
            'server.address': address.address,
            'server.port': address.port,
            'network.transport': 'tcp',
          },
        }
  known.set(server, made)
  return made
}

/** The place of a client: its target, not the address that it is connected to. */
export function placeOfClient({ options }: ClientContext): Place {
  const { host, port, path } = options as {
    readonly host?: string
    readonly port?: number | string
    readonly path?: string
  }
  if (path !== undefined) {
    return { key: path, attributes: { 'server.address': path, 'network.transport': 'unix' } }
  }
  const address = host ?? 'localhost'
  if (port === undefined) return { key: address, attributes: { 'server.address': address } }
  return {
    key: joined(address, port),
    attributes: { 'server.address': address, 'server.port': Number(port) },
  }
}

function joined(host: string, port: number | string): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
