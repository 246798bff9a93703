/**
 * The server of one side of `multiplex.ts`, in a process of its own: it takes as many bytes as a
 * stream says that it has, and answers by one.
 *
 * It says its port, answers how long its processor was at work, and leaves with its parent.
 */

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { markCompacts } from './collections.ts'
import { type Channel, libraries } from './multiplex-libraries.ts'

const { serve } = libraries[process.argv[2] ?? '']!
const sizeLength = 4

const take = (channel: Channel): void => {
  let have = 0
  let size = Buffer.alloc(0)
  let expected = Infinity
  channel.receive((bytes) => {
    have += bytes.length
    if (size.length < sizeLength) {
      size = Buffer.concat([size, bytes.subarray(0, sizeLength - size.length)])
      if (size.length < sizeLength) return
      expected = size.readUInt32BE(0)
    }
    if (have < expected) return
    void channel.send(Buffer.from('k'))
    channel.end()
  })
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  serve(socket, take)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.on('message', () => process.send!({ ...process.cpuUsage(), markCompacts: markCompacts() }))
process.on('disconnect', () => process.exit())
// A library that fails is told so by its client, which waits in vain.
process.on('uncaughtException', () => {})
process.send!((server.address() as AddressInfo).port)
