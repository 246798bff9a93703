/** `page(watching)`: the live page as a handler for `http()`. */

import { contextOf } from 'cio'
import { checkMethods } from 'cio/kit'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ConnectionQuery } from '../rows.ts'
import type { Subject } from '../explain.ts'
import type { Watch } from '../watch.ts'
import { answerAdmission } from './admission.ts'
import { assets, document } from './assets.ts'
import { EventStreams } from './events.ts'
import { Guard } from './guard.ts'
import { answerProbe } from './health.ts'
import { type PageOptions, checkedPageOptions } from './options.ts'
import { appsOf } from '../watch.ts'

/** A request handler, for `http()`. */
export type PageHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>

const headers = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

/**
 * The live page, its JSON, and `/metrics`, `/livez` and `/readyz`, for `http()`. Only peers with a verified
 * certificate see it: use it behind `secure` with a `ca`, and a list. `watching.listen()` serves it on
 * loopback or a Unix socket, without certificates.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or of the wrong kind
 *
 * @example
 * import { Cio, allowList, certs, http } from 'cio'
 * import { page, watch } from '@cio/watch'
 *
 * const app = new Cio()
 * const watching = watch(app)
 * const admin = new Cio()
 *   .useServer(certs({ key: 'server.key', cert: 'server.crt', ca: 'ca.crt' }))
 *   .useConnection(allowList(['ops']))
 *   .useConnection(http(page(watching, { hosts: ['gateway.example.com'] })))
 * await admin.listen(9_443).catch(console.error)
 */
export function page(watching: Watch, options: PageOptions = {}): PageHandler {
  return new Page(watching, options).handler
}

/** @internal */
export class Page {
  readonly guard: Guard
  readonly #watching: Watch
  readonly #actions: boolean
  readonly #events: EventStreams

  constructor(watching: Watch, options: PageOptions) {
    const { hosts, actions } = checkedPageOptions('page', options)
    checkMethods('page', 'watching', 'the result of watch()', watching, [
      'metrics',
      'snapshot',
      'look',
    ])
    this.guard = new Guard(hosts)
    this.#watching = watching
    this.#actions = actions
    this.#events = new EventStreams(watching)
  }

  readonly handler: PageHandler = async (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    const url = urlOf(request)
    if (!url) return say(response, 400, 'the address cannot be read')
    const verdict = this.guard.judge(request, url)
    if (verdict === 'wrong host') return say(response, 421, 'this is not a name of this page')
    if (request.method === 'POST' && url.pathname === '/admission') {
      return this.#admission(request, url, response, verdict === 'welcome')
    }
    if (request.method === 'POST') return this.#act(request, url, response, verdict === 'welcome')
    if (request.method !== 'GET') return say(response, 405, 'GET only')
    if (answerProbe(url, response, this.#watching, verdict !== 'welcome')) return
    if (verdict === 'no token') {
      return say(response, 403, 'open the address with the token that the server has printed')
    }
    if (verdict === 'enters') return this.#enter(response)
    await this.#read(request, url, response)
  }

  /** Removes the token from the address, since history and logs would keep it. */
  #enter(response: ServerResponse): void {
    const { cookie, token } = this.guard
    response.setHeader('set-cookie', `${cookie}=${token}; HttpOnly; SameSite=Strict; Path=/`)
    response.writeHead(303, { location: '/' }).end()
  }

  async #read(request: IncomingMessage, url: URL, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = url
    if (pathname === '/') return send(response, 'text/html', document)
    if (pathname === '/page.js') return send(response, 'text/javascript', (await assets()).script)
    if (pathname === '/page.css') return send(response, 'text/css', (await assets()).style)
    if (pathname === '/events') {
      if (this.#events.open(request, response)) return
      return say(response, 503, 'there are 4 event streams already')
    }
    let found: unknown
    try {
      found = this.#json(pathname, searchParams)
    } catch (error) {
      return say(response, 400, (error as Error).message)
    }
    if (found === undefined) return say(response, 404, 'not found')
    send(response, 'application/json', JSON.stringify(found))
  }

  #json(pathname: string, query: URLSearchParams): unknown {
    const watching = this.#watching
    const [, id] = /^\/connections\/(\d+)$/.exec(pathname) ?? []
    if (id !== undefined) return watching.connection(Number(id))
    switch (pathname) {
      case '/snapshot':
        return { ...watching.snapshot(), actions: this.#actions }
      case '/connections':
        return watching.connections(queryOf(query))
      case '/closed': {
        const reason = query.get('reason') as ClosedReason
        return watching.closed({
          ...(reason && { reason }),
          limit: numberOf(query, 'limit') ?? 100,
        })
      }
      case '/refused':
        return watching.refused()
      case '/history':
        return watching.history(query.get('of') === 'minutes' ? 'minutes' : 'seconds')
      case '/explain':
        return watching.explain(subjectOf(query)) ?? null
      case '/pipelines':
        return appsOf(watching).map(({ pipelines: { server, connection, client } }) => {
          return { server: [...server], connection: [...connection], client: [...client] }
        })
      default:
        return undefined
    }
  }

  /** It changes nothing, but takes more than an address: a certificate with its intermediates. */
  async #admission(
    request: IncomingMessage,
    url: URL,
    response: ServerResponse,
    isWelcome: boolean,
  ): Promise<void> {
    if (!isWelcome || !isOwnSite(request)) {
      request.resume()
      return say(response, 403, 'only with the token')
    }
    const answer = await answerAdmission(request, url, this.#watching)
    if ('servers' in answer) {
      return send(response, 'application/json', JSON.stringify(answer.servers))
    }
    // Node would parse an unread body as the next request.
    response.setHeader('connection', 'close')
    say(response, answer.status, answer.text)
  }

  /** Only with `actions`, from the page itself, and with the token or a verified peer. */
  #act(
    request: IncomingMessage,
    { pathname }: URL,
    response: ServerResponse,
    isWelcome: boolean,
  ): void {
    request.resume()
    const [, id, action] = /^\/connections\/(\d+)\/(end|destroy)$/.exec(pathname) ?? []
    if (!this.#actions || id === undefined) return say(response, 404, 'not found')
    const site = request.headers['sec-fetch-site']
    if (!isWelcome || !isOwnSite(request)) {
      return say(response, 403, 'only from the page itself')
    }
    // A tunnel to the socket is open to other pages of the same browser; a program has no such header.
    if (site === undefined && contextOf(request)?.peer === null && !request.headers.authorization) {
      return say(response, 403, 'pass the token as a bearer')
    }
    for (const server of this.#watching.servers) {
      for (const ctx of server.connections) {
        if (ctx.id !== Number(id)) continue
        if (action === 'destroy') ctx.destroy()
        else void ctx.close()
        return say(response, 202, action === 'end' ? 'asked to finish' : 'destroyed')
      }
    }
    say(response, 404, 'there is no such connection')
  }
}

/** Whether the request comes from the page itself, or from a program. */
function isOwnSite({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site']
  return site === undefined || site === 'same-origin'
}

type ClosedReason = NonNullable<NonNullable<Parameters<Watch['closed']>[0]>['reason']> | null

function urlOf({ url = '/' }: IncomingMessage): URL | undefined {
  // Not with the host of the request, which is checked separately.
  return url.startsWith('/') && URL.canParse(url, 'http://page')
    ? new URL(url, 'http://page')
    : undefined
}

function queryOf(query: URLSearchParams): ConnectionQuery {
  const [sort, filter, step] = ['sort', 'filter', 'step'].map((name) => query.get(name))
  const limit = Math.min(numberOf(query, 'limit') ?? 50, 1_000)
  return {
    ...(sort && { sort: sort as NonNullable<ConnectionQuery['sort']> }),
    ...(filter && { filter }),
    ...(step && { step }),
    limit,
    after: numberOf(query, 'after') ?? 0,
  }
}

function subjectOf(query: URLSearchParams): Subject {
  const [name, address] = [query.get('name'), query.get('address')]
  if (name !== null) return { name }
  if (address !== null) return { address }
  return numberOf(query, 'id') ?? -1
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  return text === null ? undefined : Number(text)
}

function send(response: ServerResponse, type: string, text: string): void {
  response.setHeader('content-type', `${type}; charset=utf-8`)
  response.end(text)
}

function say(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  send(response, 'text/plain', `${text}\n`)
}
