/** Removing the file of a Unix socket whose server was killed, and no other file. */

import cluster from 'node:cluster'
import { type BigIntStats, linkSync, lstatSync, renameSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { sleep } from '../../src/rates/backoff.ts'

/** Milliseconds between two looks: another server may have bound it and not listen yet. */
const lookAgainAfter = 100

/**
 * Removes a socket file that no server listens on; fulfils with whether it did.
 *
 * The file is a socket, not a link, of our own user, and refuses connections, twice. Another process
 * may do the same at the same time: the file is taken away by one step, and given back if it is a new
 * one by then.
 */
export async function removeStale(path: string, signal: AbortSignal): Promise<boolean> {
  // There, the primary process holds the sockets of all workers.
  if (cluster.isWorker) return false
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
    // Another process has taken it, or we may not.
    return false
  }
}

/** The socket of our own user at a path; undefined for anything else, a link to one too. */
function socketAt(path: string): BigIntStats | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  const isOurs = stats?.uid === BigInt(process.geteuid?.() ?? -1)
  return stats?.isSocket() && isOurs && stats.nlink === 1n ? stats : undefined
}

/** An inode's number is given to the next file: the time says which one it is. */
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
