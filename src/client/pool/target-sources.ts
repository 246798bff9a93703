/** Targets of a pool from DNS: the addresses of a host, or SRV records. */

import { promises as dns } from 'node:dns'
import {
  checkCount,
  checkDuration,
  checkMethods,
  checkOptionNames,
  optionError,
} from '../../options.ts'
import type { PoolTarget } from './pool-types.ts'

/** The targets that a source has found. */
export interface FoundTargets {
  /** The current targets. An empty list counts as a failure. */
  readonly targets: readonly PoolTarget[]
  /** Milliseconds until the pool asks again. `Infinity` never asks again. */
  readonly ttl: number
}

/** Where a pool gets targets that change. */
export interface TargetSource {
  /**
   * Finds the targets. If it rejects, the pool keeps its targets, and asks again after a growing
   * delay. `signal` aborts when the pool is closed.
   */
  resolve(signal: AbortSignal): Promise<FoundTargets>
}

/** The part of `dns.promises` that Cio uses; a `Resolver` with servers of your own has it too. */
export interface TargetResolver {
  /** Looks up the A records of a host. */
  resolve4(host: string, options: { ttl: true }): Promise<{ address: string; ttl: number }[]>
  /** Looks up the AAAA records of a host. */
  resolve6(host: string, options: { ttl: true }): Promise<{ address: string; ttl: number }[]>
  /** Looks up SRV records. */
  resolveSrv(
    name: string,
  ): Promise<{ name: string; port: number; priority: number; weight: number }[]>
}

/** Options of {@link dnsTargets}. */
export interface DnsTargetsOptions {
  /**
   * Shortest time between two lookups in milliseconds, whatever the TTL of the records is.
   *
   * @default 5_000
   */
  readonly minTtl?: number
  /**
   * Longest time between two lookups in milliseconds, whatever the TTL of the records is.
   *
   * @default 300_000
   */
  readonly maxTtl?: number
  /**
   * Maximum number of targets. If there are more, the pool sorts them by address, and uses the
   * first ones.
   *
   * @default 100
   */
  readonly maxTargets?: number
  /**
   * The resolver, such as a `Resolver` of `node:dns/promises`.
   *
   * @default that of Node
   */
  readonly resolver?: TargetResolver
}

/** Options of {@link srvTargets}. */
export interface SrvTargetsOptions {
  /**
   * Milliseconds between two lookups: Node does not pass on the TTL of SRV records.
   *
   * @default 30_000
   */
  readonly interval?: number
  /**
   * Maximum number of targets. If there are more, the pool sorts them by priority, then by name,
   * and uses the first ones.
   *
   * @default 100
   */
  readonly maxTargets?: number
  /**
   * The resolver, such as a `Resolver` of `node:dns/promises`.
   *
   * @default that of Node
   */
  readonly resolver?: TargetResolver
}

const second = 1_000
/** The codes of a resolver for a name without records of the requested kind. */
const noRecords: ReadonlySet<unknown> = new Set(['ENODATA', 'ENOTFOUND'])

/**
 * All addresses of a host (A and AAAA records) as the targets of a {@link Pool}. It looks them up
 * again when their TTL is over. It asks DNS servers, and not `/etc/hosts`. With TLS, set
 * `servername` in the `connect` of the pool to the host, since the targets are addresses.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, json, rpc } from 'cio'
 * import { Pool, dnsTargets } from 'cio/pool'
 *
 * const app = new Cio().useClient(json()).useClient(rpc())
 * const pool = new Pool(app, { targets: dnsTargets('gateway.example', 7000) })
 * await pool.close()
 */
export function dnsTargets(
  host: string,
  port: number,
  options: DnsTargetsOptions = {},
): TargetSource {
  checkOptionNames('dnsTargets', options, ['minTtl', 'maxTtl', 'maxTargets', 'resolver'])
  const { minTtl = 5_000, maxTtl = 300_000, maxTargets = 100, resolver = dns } = options
  checkName('dnsTargets', 'host', host)
  checkCount('dnsTargets', 'port', port, 1)
  checkDuration('dnsTargets', 'minTtl', minTtl)
  checkDuration('dnsTargets', 'maxTtl', maxTtl)
  if (minTtl < 1 || maxTtl < minTtl) {
    throw optionError('dnsTargets', 'maxTtl', 'at least `minTtl`, and that above 0', maxTtl)
  }
  checkCount('dnsTargets', 'maxTargets', maxTargets, 1)
  checkResolver('dnsTargets', resolver, ['resolve4', 'resolve6'])
  return {
    async resolve() {
      // A failed lookup of one family does not mean that it has no addresses. Otherwise the pool
      // would drop half of its targets.
      const records = await Promise.all([
        recordsOf(resolver.resolve4(host, { ttl: true })),
        recordsOf(resolver.resolve6(host, { ttl: true })),
      ])
      const found = records.flat().toSorted((a, b) => (a.address < b.address ? -1 : 1))
      const ttl = Math.min(...found.map((record) => record.ttl * second))
      return {
        targets: found.slice(0, maxTargets).map(({ address }) => ({ host: address, port })),
        ttl: Math.max(minTtl, Math.min(maxTtl, ttl)),
      }
    },
  }
}

/**
 * The servers of SRV records as the targets of a {@link Pool}, by their priority and weight, such as
 * `_gateway._tcp.example.com`. A server with a lower priority number is used first.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see RFC 2782
 *
 * @example
 * import { Cio, json, rpc } from 'cio'
 * import { Pool, srvTargets } from 'cio/pool'
 *
 * const app = new Cio().useClient(json()).useClient(rpc())
 * const pool = new Pool(app, { targets: srvTargets('_gateway._tcp.example.com') })
 * await pool.close()
 */
export function srvTargets(name: string, options: SrvTargetsOptions = {}): TargetSource {
  checkOptionNames('srvTargets', options, ['interval', 'maxTargets', 'resolver'])
  const { interval = 30_000, maxTargets = 100, resolver = dns } = options
  checkName('srvTargets', 'name', name)
  checkDuration('srvTargets', 'interval', interval)
  if (interval < 1) throw optionError('srvTargets', 'interval', 'above 0', interval)
  checkCount('srvTargets', 'maxTargets', maxTargets, 1)
  checkResolver('srvTargets', resolver, ['resolveSrv'])
  return {
    async resolve() {
      const records = await resolver.resolveSrv(name)
      // A record with the name `.` says that there is no such service. Node returns that name as an
      // empty string.
      const found = records.filter((record) => record.name !== '' && record.name !== '.')
      const order = (a: (typeof found)[0], b: (typeof found)[0]): number =>
        a.priority - b.priority || (a.name < b.name ? -1 : 1)
      return {
        targets: found
          .toSorted(order)
          .slice(0, maxTargets)
          .map((record) => ({
            host: record.name,
            port: record.port,
            priority: record.priority,
            // A weight of 0 means a small share beside other weights. If all weights are 0, they
            // are ignored.
            weight: Math.max(1, record.weight),
          })),
        ttl: interval,
      }
    },
  }
}

async function recordsOf<Record>(lookup: Promise<Record[]>): Promise<Record[]> {
  try {
    return await lookup
  } catch (error) {
    if (noRecords.has((error as NodeJS.ErrnoException).code)) return []
    throw error
  }
}

function checkName(place: string, option: string, given: unknown): void {
  if (typeof given !== 'string' || given === '') {
    throw optionError(place, option, 'a name of DNS', given)
  }
}

function checkResolver(owner: string, resolver: TargetResolver, methods: readonly string[]): void {
  const rule = `an object with ${methods.map((name) => `\`${name}()\``).join(' and ')}`
  checkMethods(owner, 'resolver', rule, resolver, methods)
}
