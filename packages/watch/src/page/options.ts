/** The options of the page. */

import { checkOptionNames, optionError } from 'cio/kit'

/** Options of the page, for `page()` and `watching.listen()`. */
export interface PageOptions {
  /**
   * Host names under which browsers may request the page, besides the loopback names. A request
   * with any other `Host` gets 421, so that another site whose name resolves to this host cannot
   * read the page (DNS rebinding).
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
   * The address that serves only `/livez`, `/readyz` and `/metrics`, for a load balancer, a kubelet
   * or a Prometheus on another host. It needs no token, and its answers name no client.
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

/** Checks the address of the probes. */
export function checkProbes(owner: string, probes: WatchListenOptions['probes']): void {
  if (probes === undefined) return
  const { host, port } = probes ?? {}
  if (typeof host !== 'string' || !Number.isInteger(port)) {
    throw optionError(owner, 'probes', '{ host, port }', probes)
  }
  checkOptionNames(`${owner}: probes`, probes, ['host', 'port'])
}
