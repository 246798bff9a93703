/**
 * Whether a descriptor is a stream socket that listens already.
 *
 * Node does not check that. For a file or a datagram socket it fails with a bare `EINVAL`; with a
 * socket that is not bound it listens at a random port. On Linux, Cio looks the descriptor up in
 * the kernel's tables. On other systems it checks only that it is a socket.
 */

import { type Stats, fstatSync, readFileSync, statSync } from 'node:fs'
import { type Descriptor, descriptorOwner, inheritedError } from './descriptors.ts'

/** The state `LISTEN` of a TCP socket. */
const tcpListens = '0A'
/** The flag of a Unix socket that listens, and the type of a stream. */
const unixListens = 0x10000
const unixStream = 1

/**
 * Checks a descriptor.
 *
 * @throws `ERR_CIO_INHERITED`
 */
export function checkListening({ fd, name }: Descriptor): void {
  const pid = descriptorOwner()
  const what = `descriptor ${fd} (\`${name}\`)`
  let stats: Stats
  try {
    stats = pid === process.pid ? fstatSync(fd) : statSync(`/proc/${pid}/fd/${fd}`)
  } catch (error) {
    throw inheritedError(
      `${what} is not open: a process between the parent and this one has closed it`,
      error,
    )
  }
  if (!stats.isSocket()) throw inheritedError(`${what} is not a socket`)
  if (process.platform === 'linux' && !listens(pid, String(stats.ino))) {
    throw inheritedError(
      `${what} is not a listening stream socket of this network namespace; the socket unit needs ListenStream= and Accept=no; with PrivateNetwork=yes, where Cio cannot look it up, pass \`fd: ${fd}\` to listen() yourself`,
    )
  }
}

/** Looks a socket up in the tables of the kernel. */
function listens(pid: number, inode: string): boolean {
  const rows = (table: string): string[][] => {
    const lines = readFileSync(`/proc/${pid}/net/${table}`, 'latin1').trim().split('\n')
    return lines.slice(1).map((line) => line.trim().split(/\s+/))
  }
  const unix = rows('unix').find((row) => row[6] === inode)
  if (unix) {
    return (parseInt(unix[3]!, 16) & unixListens) !== 0 && parseInt(unix[4]!, 16) === unixStream
  }
  // Without IPv6 in the kernel, this table does not exist.
  const tables = [() => rows('tcp'), () => rows('tcp6')]
  return tables.some((table) =>
    orNone(table).some((row) => row[9] === inode && row[3] === tcpListens),
  )
}

function orNone(table: () => string[][]): string[][] {
  try {
    return table()
  } catch {
    return []
  }
}
