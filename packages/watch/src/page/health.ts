/** `/livez`, `/readyz` and `/metrics`: for load balancers, kubelets and Prometheus. */

import type { ServerContext } from 'cio'
import type { ServerResponse } from 'node:http'
import { contentType } from '../prometheus.ts'
import { type Watch, collectorOf } from '../watch.ts'

/** One condition of readiness. */
interface Check {
  readonly name: string
  readonly holds: boolean
}

function checksOf(watching: Watch): Check[] {
  const { servers: all, stopping, shortAt } = collectorOf(watching)
  const servers = [...all]
  // During a shortage the event comes at most every five seconds.
  const isShort = shortAt > 0 && performance.now() - shortAt < 10_000
  return [
    { name: 'listening', holds: servers.length > 0 && servers.every(isListening) },
    {
      name: 'not draining',
      holds: !servers.some((one) => one.draining.aborted || stopping.has(one)),
    },
    { name: 'descriptors', holds: !isShort },
  ]
}

function isListening({ address, options }: ServerContext): boolean {
  return address !== null || options.bind === false
}

interface Metrics {
  readonly text: string
  /** By `performance.now()`. */
  readonly until: number
}

const publicMetrics = new WeakMap<Watch, Metrics>()
/** The same text is sent again for this many times the time that writing it took. */
const reuse = 4
const longestReuse = 1_000

/**
 * The metrics without names. Any client may request them, so writing them takes at most a fifth of
 * the event loop.
 */
function metricsFor(watching: Watch): string {
  const began = performance.now()
  const known = publicMetrics.get(watching)
  if (known && began < known.until) return known.text
  const text = watching.metrics({ names: false })
  const written = performance.now()
  const until = written + Math.min(longestReuse, reuse * (written - began))
  publicMetrics.set(watching, { text, until })
  return text
}

/** Answers one of the three paths; false if it is another. */
export function answerProbe(
  { pathname, searchParams }: URL,
  response: ServerResponse,
  watching: Watch,
  isPublic: boolean,
): boolean {
  if (pathname === '/metrics') {
    response.setHeader('content-type', contentType)
    response.end(isPublic ? metricsFor(watching) : watching.metrics())
    return true
  }
  if (pathname !== '/livez' && pathname !== '/readyz') return false
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  const checks = pathname === '/livez' ? [] : checksOf(watching)
  const isReady = checks.every(({ holds }) => holds)
  if (!isReady) response.statusCode = 503
  const lines = searchParams.has('verbose')
    ? checks.map(({ name, holds }) => `[${holds ? '+' : '-'}] ${name}\n`)
    : []
  response.end(`${lines.join('')}${isReady ? 'ok' : 'not ready'}\n`)
  return true
}
