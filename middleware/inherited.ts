import { debug } from '../src/debug.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkOptionNames, optionError } from '../src/options.ts'
import type { ServerContext } from '../src/server/server.ts'
import {
  descriptorOwner,
  nextDescriptor,
  passedDescriptors,
  take,
} from './inherited/descriptors.ts'
import { checkListening } from './inherited/listening-socket.ts'

const log = debug('cio:inherited')

/**
 * Large enough for the connections that arrive during a restart. The kernel limits it to
 * `net.core.somaxconn`.
 */
const longBacklog = 4_096

/** Options of {@link inherited}. */
export interface InheritedOptions {
  /**
   * The name of the socket: `FileDescriptorName=` of the socket unit. Without it, all passed
   * sockets must have the same name, or none.
   */
  readonly name?: string
}

/**
 * Zero-downtime restarts on a socket passed by systemd socket activation.
 *
 * systemd, or another parent, opens the listening socket and keeps it. So the kernel queues new
 * connections while no process of the application runs, and the next process accepts them. A
 * restart refuses no connection and resets none, even if the old process ends before the new one
 * starts. The descriptor replaces the `port`, `host` and `path` of `listen()`, and the default of
 * its `backlog` becomes 4,096. If no socket was passed, `listen()` uses these as usual, so that the
 * same program runs at a terminal.
 *
 * Each `listen()` takes the next socket of the name, once. It accepts TCP and Unix sockets. In a
 * worker of `node:cluster`, the descriptor belongs to the primary. Cio removes the variables
 * `LISTEN_*` from the environment, so that no child process uses the socket by mistake.
 *
 * @pipelines server
 * @order before `listen`
 * @adds nothing; puts `fd` and `backlog` into `ctx.options`
 * @rejects nothing
 * @throws `ERR_CIO_OPTION`: `name` is not a string, or an option is unknown; `ERR_CIO_INHERITED`
 *   from `listen()`: the sockets were passed to another process (`LISTEN_PID`), none has the name,
 *   all of the name are in use, or the descriptor is not a listening stream socket
 * @see systemd.socket(5), sd_listen_fds(3)
 *
 * @example
 * import { Cio, drain, inherited } from 'cio'
 *
 * const app = new Cio()
 *   .useServer(inherited())
 *   .useServer(drain())
 *   .useConnection(({ stream }) => void stream.end('hello\n'))
 */
export function inherited(options: InheritedOptions = {}): Middleware<ServerContext> {
  checkOptionNames('inherited', options, ['name'])
  const { name } = options
  if (name !== undefined && (typeof name !== 'string' || name === '')) {
    throw optionError('inherited', 'name', 'the name of a socket', name)
  }

  return defineMiddleware<ServerContext>(
    { name: 'inherited', pipelines: ['server'], before: 'listen' },
    function inherited(ctx, next) {
      // With `bind: false` nothing listens: the server gets its streams by `accept()`.
      if (ctx.options.bind === false) return next()
      const descriptors = passedDescriptors()
      if (descriptors.length === 0) {
        log('no socket was passed: listens on its own')
        return next()
      }
      const descriptor = nextDescriptor(descriptors, name)
      checkListening(descriptor)
      take(descriptor)
      const { fd } = descriptor
      log(
        'listens on descriptor %d (%s)%s',
        fd,
        descriptor.name,
        descriptorOwner() !== process.pid ? ' of the primary' : '',
      )
      const { backlog = longBacklog } = ctx.options
      const place = { port: undefined, host: undefined, path: undefined }
      ctx.options = { ...ctx.options, ...place, fd, backlog }
      return next()
    },
  )
}

export { inherited as default }
