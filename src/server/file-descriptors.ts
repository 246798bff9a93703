/**
 * How near the process is to its bound of open descriptors.
 *
 * Node does not tell: once there are none, libuv accepts each connection on one that it keeps for
 * that, and closes it. But the kernel always gives out the lowest number that is free. So the number
 * of a new descriptor says how many are open at least, and costs nothing to look at.
 */

import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { devNull } from 'node:os'

let known: number | undefined

/** How many descriptors the process may have; `Infinity` where nothing bounds them. */
export function descriptorLimit(): number {
  return (known ??= readLimit())
}

function readLimit(): number {
  if (process.platform === 'win32') return Infinity
  try {
    const text =
      process.platform === 'linux'
        ? /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
        : execFileSync('/bin/sh', ['-c', 'ulimit -n'], { encoding: 'latin1' }).trim()
    const limit = Number(text)
    return limit > 0 ? limit : Infinity
  } catch {
    return Infinity
  }
}

/** Whether a descriptor of this number is open. Opens none to find out. */
export function isOpen(descriptor: number): boolean {
  try {
    fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

/** The number of the next descriptor; `Infinity` if there is none. */
export function nextDescriptor(): number {
  try {
    const descriptor = openSync(devNull, 'r')
    closeSync(descriptor)
    return descriptor
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'EMFILE' || code === 'ENFILE' ? Infinity : 0
  }
}

/** The number of a socket's descriptor, which Node keeps in no place that is documented; or -1. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { readonly fd?: number } | null }
  return handle?.fd ?? -1
}
