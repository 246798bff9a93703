/** The options of the page. */

import { checkOptionNames, optionError } from 'cio/kit'

/** Options of the page, for `page()` and `watching.listen()`. */
export interface PageOptions {
  /**
   * Names by which browsers may ask for the page, besides those of this host's loopback. A request with
   * any other `Host` gets 421, so that a foreign name that resolves to this host reads nothing.
   *
   * @default none
   */
  readonly hosts?: readonly string[]
  /**
   * Whether the page may end and destroy connections.
   *
   * @default false
   */
  readonly actions?: boolean
}

/** Options of `watching.listen()`. */
export interface WatchListenOptions extends PageOptions {
  /**
   * Where to serve `/livez`, `/readyz` and `/metrics` alone, for a load balancer, a kubelet or a
   * Prometheus that comes from elsewhere. No token is asked for there, and nothing names a client.
   *
   * @default none: they are at the address of the page only
   */
  readonly probes?: { readonly host: string; readonly port: number }
}

/** Checks the options, and fills in the defaults. */
export function checkedPageOptions(owner: string, options: PageOptions): Required<PageOptions> {
  checkOptionNames(owner, options, ['hosts', 'actions'])
  const { hosts = [], actions = false } = options
  if (!Array.isArray(hosts) || hosts.some((host) => typeof host !== 'string')) {
    throw optionError(owner, 'hosts', 'an array of host names', hosts)
  }
  if (typeof actions !== 'boolean') throw optionError(owner, 'actions', 'true or false', actions)
  return { hosts: hosts.map((host: string) => host.toLowerCase()), actions }
}

/** Checks where the probes are served. */
export function checkProbes(owner: string, probes: WatchListenOptions['probes']): void {
  if (probes === undefined) return
  const { host, port } = probes ?? {}
  if (typeof host !== 'string' || !Number.isInteger(port)) {
    throw optionError(owner, 'probes', '{ host, port }', probes)
  }
  checkOptionNames(`${owner}: probes`, probes, ['host', 'port'])
}
