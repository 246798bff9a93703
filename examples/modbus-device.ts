// npx tsx examples/modbus-device.ts
//
// A device that speaks Modbus/TCP: ten holding registers to read (function 3) and to write (6). With
// `modbus-serial` as the client: `client.connectTCP('127.0.0.1', { port: 7021 })`, and
// `client.readHoldingRegisters(0, 2)`.

import { Cio, frames } from '../src/index.ts'

const registers = new Uint16Array(10)
registers[0] = 230

const [illegalFunction, illegalAddress] = [1, 2]

/** The answer to a request: the part of the frame after the unit. */
function answer(request: Buffer): Buffer {
  const code = request[0]!
  const exception = (why: number): Buffer => Buffer.of(code | 0x80, why)
  if ((code !== 3 && code !== 6) || request.length !== 5) return exception(illegalFunction)
  const [address, second] = [request.readUInt16BE(1), request.readUInt16BE(3)]
  if (code === 6) {
    if (address >= registers.length) return exception(illegalAddress)
    registers[address] = second
    return request
  }
  if (second === 0 || address + second > registers.length) return exception(illegalAddress)
  const values = registers.subarray(address, address + second)
  const bytes = Buffer.alloc(2 * second)
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value, 2 * index)
  return Buffer.concat([Buffer.of(code, bytes.length), bytes])
}

const unitEnd = 7
const app = new Cio()
  // Transaction, protocol and length, then the unit; a frame has at most 260 bytes.
  .useConnection(frames({ length: { bytes: 2, at: 4 }, whole: true, maxLength: 260 }))
  .useConnection(async ({ messages }) => {
    for await (const frame of messages) {
      if (frame.length <= unitEnd) return
      // `frames` sets the length of the answer.
      const header = frame.subarray(0, unitEnd)
      await messages.send(Buffer.concat([header, answer(frame.subarray(unitEnd))]))
    }
  })

app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7021)
console.log(`Modbus/TCP on port ${server.port}`)
