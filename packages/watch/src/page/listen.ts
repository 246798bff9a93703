/** `watching.listen()`: the page on a separate app, which is not watched. */

import {
  Cio,
  type ListenOptions,
  type Next,
  type ServerContext,
  type StreamContext,
  allowList,
  contextOf,
  http,
  limit,
  timeout,
} from 'cio'

import { asError, checkOptionNames, optionError, optionsOf, removeStaleSocket } from 'cio/kit'
import { chmod } from 'node:fs/promises'
import { createServer } from 'node:http'
import { type Watch, appsOf } from '../watch.ts'
import { isLoopback } from './guard.ts'
import { answerProbe } from './health.ts'
import { type WatchListenOptions, checkProbes } from './options.ts'
import { Page, type PageHandler } from './page.ts'

/** The server of the page. */
export interface WatchServer extends ServerContext {
  /**
   * The address to open in a browser, with the token. Behind TLS it has the first of `hosts`, if there
   * is one.
   *
   * A browser cannot open a Unix socket. There the address is that of a tunnel, which you open on your
   * own machine: `ssh -L 9400:/run/app/admin.sock host`. With another port than 9400, change it in the
   * address. `curl --unix-socket` and `cio top` take the socket itself, and need no token.
   */
  readonly url: string
  /** The server of `probes`; null without that option. */
  readonly probes: ServerContext | null
}

const owner = 'watching.listen'
const mostConnections = 100
/** Maximum connections of one address, at the address that is open to all. */
const mostOfAddress = 20
/** Closes a client that sends nothing or reads nothing. */
const patience = { firstByte: 5_000, write: 30_000 }
/** Limits a client that sends its request byte by byte, or a thousand requests at once. */
const bounds = {
  headersTimeout: 5_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
}
const mostRequests = 100
/** For requests in progress, when the watched servers have closed. */
const lastAnswers = { timeout: 1_000 }
/** Fewer than the servers of the app keep free, so that page and probes answer when those are short. */
const reservedDescriptors = 4
const tunnelPort = 9_400

/** Serves the page on loopback, a Unix socket, or to verified peers. */
export async function listen(
  watching: Watch,
  target: number | string | ListenOptions = 9_400,
  options: WatchListenOptions = {},
): Promise<WatchServer> {
  checkOptionNames(owner, options, ['hosts', 'actions', 'probes'])
  const { probes, ...rest } = options
  checkProbes(owner, probes)
  const place: ListenOptions = { reservedDescriptors, ...optionsOf('listen', target) }
  if (place.path === undefined && place.fd === undefined) place.host ??= '127.0.0.1'
  const isLocal = place.path !== undefined || (place.host !== undefined && isLoopback(place.host))
  const hasPeers = place.ca !== undefined && place.cert !== undefined
  if (!isLocal && !hasPeers) {
    throw optionError(
      owner,
      'target',
      'on loopback or a Unix socket, or to have `key`, `cert` and `ca`, so that only verified peers see the page',
      place.host ?? place.fd,
    )
  }
  const page = new Page(watching, rest)
  let admin = new Cio()
    .useConnection(limit({ connections: mostConnections }))
    .useConnection(timeout(patience))
  // Fails closed: does not start if it could not verify clients.
  if (hasPeers) admin = admin.useConnection(allowList(() => true))
  const mode = new SocketMode(place.path)
  admin.useConnection(mode.admit, { before: '*', name: 'socketMode' })
  admin.useConnection(serve(page.handler))
  let beside: ServerContext | null = null
  admin.useServer(
    async function probesBeside(_, next) {
      try {
        await next()
      } finally {
        await beside?.close()
      }
    },
    { after: 'listen' },
  )
  const server = await mode.listen(() => admin.listen(place))
  try {
    beside = probes ? await listenForProbes(watching, probes) : null
  } catch (error) {
    await server.close()
    throw error
  }
  closeAfterDrain(watching, server)
  return Object.assign(server, { url: urlOf(server, page, rest.hosts?.[0]), probes: beside })
}

/**
 * `drain` leaves a process to end by itself, which its page would prevent. Until the last server has
 * closed, the page shows how the drain goes.
 */
function closeAfterDrain(watching: Watch, server: ServerContext): void {
  const apps = appsOf(watching)
  const drained = (): void => {
    if ([...watching.servers].every(({ isClosed }) => isClosed)) void server.close(lastAnswers)
  }
  for (const app of apps) app.on('drained', drained)
  void server.closed.then(() => {
    for (const app of apps) app.off('drained', drained)
  })
}

/** A server of Node, since only that can limit the requests of one connection. */
function serve(answer: PageHandler): ReturnType<typeof http> {
  const server = createServer(bounds, (request, response) => {
    answer(request, response).catch((error: unknown) => contextOf(request)?.destroy(asError(error)))
  })
  server.maxRequestsPerSocket = mostRequests
  return http(server)
}

function urlOf(
  { address, tls }: ServerContext,
  { guard: { token } }: Page,
  name: string | undefined,
): string {
  const scheme = tls ? 'https' : 'http'
  if (typeof address !== 'object' || address === null) {
    return `${scheme}://localhost:${tunnelPort}/?token=${token}`
  }
  const own = address.family === 'IPv6' ? `[${address.address}]` : address.address
  // Elsewhere than on loopback the page refuses a request for an address, and so does the certificate.
  const host = isLoopback(address.address) ? own : (name ?? own)
  return `${scheme}://${host}:${address.port}/${tls ? '' : `?token=${token}`}`
}

/** An address that is open to all has only these three paths. */
function listenForProbes(
  watching: Watch,
  place: { readonly host: string; readonly port: number },
): Promise<ServerContext> {
  const handler: PageHandler = async (request, response) => {
    response.setHeader('cache-control', 'no-store')
    response.setHeader('x-content-type-options', 'nosniff')
    const { url = '/' } = request
    const isRead = request.method === 'GET' && url.startsWith('/') && URL.canParse(url, 'http://x')
    if (isRead && answerProbe(new URL(url, 'http://x'), response, watching, true)) return
    response.writeHead(request.method === 'GET' ? 404 : 405).end()
  }
  return new Cio()
    .useConnection(limit({ connections: mostConnections, perAddress: mostOfAddress }))
    .useConnection(timeout(patience))
    .useConnection(serve(handler))
    .listen({ reservedDescriptors, ...place })
}

/** The file of a Unix socket: only its owner may open it. */
class SocketMode {
  readonly #path: string | undefined
  #isSet: boolean

  constructor(path: string | undefined) {
    this.#path = path
    this.#isSet = path === undefined
  }

  /** A middleware: between `bind` and `chmod`, others could have connected. */
  readonly admit = async ({ stream }: StreamContext, next: Next): Promise<void> => {
    if (this.#isSet) return next()
    stream.destroy()
  }

  async listen<Result>(start: () => Promise<Result>): Promise<Result> {
    if (this.#path === undefined) return start()
    const server = await start().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error
      if (!(await removeStaleSocket(this.#path!, new AbortController().signal))) throw error
      return start()
    })
    await chmod(this.#path, 0o600)
    this.#isSet = true
    return server
  }
}
