/** File descriptors of the process, as Linux counts them. */

import { readFileSync, readdirSync, statSync } from 'node:fs'

let limit: number | undefined

/** The limit of the process; undefined if the system does not provide it. */
export function descriptorLimit(): number | undefined {
  return (limit ??= readLimit())
}

function readLimit(): number | undefined {
  try {
    const [, text] = /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))!
    return text === 'unlimited' ? undefined : Number(text)
  } catch {
    return undefined
  }
}

let counted = 0
let at = -Infinity
// Reading the folder takes about a microsecond for each descriptor.
const fresh = 5_000

/**
 * The number of open descriptors, counted at most every five seconds; undefined if the system does
 * not provide it.
 */
export function openDescriptors(): number | undefined {
  const now = performance.now()
  if (now - at < fresh) return counted
  try {
    // Linux 6.2 and newer has the number in the size of the folder. Older kernels need a count, and
    // one of the entries is for reading the folder.
    counted = statSync('/proc/self/fd').size || readdirSync('/proc/self/fd').length - 1
    at = now
    return counted
  } catch {
    return undefined
  }
}
