/** The file of a Unix socket: removes that of a server that was killed, and no other file. */

import type { Cluster } from 'node:cluster'
import { type BigIntStats, linkSync, lstatSync, renameSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { sleep } from '../rates/backoff.ts'

/** Milliseconds between the two checks: another server may have bound it and not listen yet. */
const lookAgainAfter = 100

/**
 * Removes a socket file on which no server listens; fulfils with whether it did.
 *
 * The file must be a socket and not a link, must belong to our own user, and must refuse
 * connections twice. Another process may do the same at the same time. So Cio renames the file in
 * one step, and renames it back if it turns out to be a new socket.
 */
export async function removeStaleSocket(path: string, signal: AbortSignal): Promise<boolean> {
  if (!holdsSockets()) return false
  const found = socketAt(path)
  if (!found || !(await refuses(path))) return false
  await sleep(lookAgainAfter, signal)
  if (!isSame(found, socketAt(path)) || !(await refuses(path))) return false

  const aside = `${path}.stale-${process.pid}`
  try {
    if (!isSame(found, socketAt(path))) return false
    renameSync(path, aside)
    const isStale = isSame(found, socketAt(aside))
    if (!isStale) linkSync(aside, path)
    unlinkSync(aside)
    return isStale
  } catch {
    // Another process took it, or we lack the permission.
    return false
  }
}

/** Whether the sockets are those of this process. In a cluster, the primary has those of all workers. */
export function holdsSockets(): boolean {
  // Not imported: node:net loads it itself when it listens.
  const { isWorker } = process.getBuiltinModule('node:cluster') as unknown as Cluster
  return !isWorker
}

/** The file at a path, to compare it later; undefined without one. */
export function fileAt(path: string): BigIntStats | undefined {
  // An abstract socket has no file.
  if (path.startsWith('\0')) return undefined
  return lstatSync(path, { bigint: true, throwIfNoEntry: false })
}

/**
 * Closes a server on a Unix socket. libuv removes the file at its path, also if another server has
 * taken the path meanwhile: nothing would reach that one. So another file is moved aside.
 */
export function closeKeepingOthers(path: string, own: BigIntStats, close: () => void): void {
  const found = fileAt(path)
  if (!found || isSame(own, found)) return close()
  const aside = `${path}.kept-${process.pid}`
  try {
    renameSync(path, aside)
  } catch {
    // Without the permission for that, libuv has none to remove it.
    return close()
  }
  close()
  renameSync(aside, path)
}

/**
 * The socket of our own user at a path; undefined for anything else, including a link to a socket.
 */
function socketAt(path: string): BigIntStats | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  const isOurs = stats?.uid === BigInt(process.geteuid?.() ?? -1)
  return stats?.isSocket() && isOurs && stats.nlink === 1n ? stats : undefined
}

/** The file system reuses inode numbers, so this compares the time as well. */
function isSame(one: BigIntStats, other: BigIntStats | undefined): boolean {
  const { dev, ino, mtimeNs } = one
  return dev === other?.dev && ino === other.ino && mtimeNs === other.mtimeNs
}

function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'ECONNREFUSED'))
  })
}
