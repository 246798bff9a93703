/**
 * Measures how near the process is to its limit of open file descriptors.
 *
 * Node does not report a shortage: without free descriptors, libuv accepts each connection on a
 * reserved one, and closes it. But the kernel always assigns the lowest free number. So the number
 * of a new descriptor is a lower bound for the number of open descriptors, and reading it costs
 * nothing.
 */

import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { devNull } from 'node:os'

let known: number | undefined

/** The limit of descriptors of the process; `Infinity` without a limit. */
export function descriptorLimit(): number {
  return (known ??= readLimit())
}

function readLimit(): number {
  if (process.platform === 'win32') return Infinity
  try {
    const text =
      process.platform === 'linux'
        ? /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
        : shell('ulimit -n')
    const limit = Number(text)
    return limit > 0 ? limit : Infinity
  } catch {
    return Infinity
  }
}

function shell(command: string): string {
  const { execFileSync } = process.getBuiltinModule('node:child_process')
  return execFileSync('/bin/sh', ['-c', command], { encoding: 'latin1' }).trim()
}

/** Whether a descriptor of this number is open. Opens none. */
export function isOpen(descriptor: number): boolean {
  try {
    fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

/**
 * The number that the next descriptor would get, or the last of several; `Infinity` if none is free.
 *
 * @param count How many to open for a moment
 * @param bound The number from which on one is enough, since there are fewer below it
 */
export function nextDescriptor(count: number = 1, bound: number = Infinity): number {
  const opened: number[] = []
  try {
    do opened.push(openSync(devNull, 'r'))
    while (opened.length < count && opened.at(-1)! < bound)
    return opened.at(-1)!
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'EMFILE' || code === 'ENFILE' ? Infinity : 0
  } finally {
    for (const descriptor of opened) closeSync(descriptor)
  }
}
