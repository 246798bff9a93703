// npx tsx examples/trackers.ts
//
// A gateway for GPS trackers of two makers on one port: GT06 (Concox) and Teltonika. `route` looks
// at the first bytes, and `frames` has the format of each maker. The program decodes the frames and
// prints each position.

import { Cio, type StreamContext, frames, route, timeout } from '../src/index.ts'

/** A reflected CRC of 16 bits, by a table. */
function crc16(polynomial: number, init: number, xorout: number): (bytes: Uint8Array) => number {
  const table = Uint16Array.from({ length: 256 }, (_, byte) => {
    let rest = byte
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? polynomial : 0)
    return rest
  })
  return (bytes) =>
    bytes.reduce((sum, byte) => (sum >>> 8) ^ table[(sum ^ byte) & 0xff]!, init) ^ xorout
}

const x25 = crc16(0x8408, 0xffff, 0xffff)
const arc = crc16(0xa001, 0, 0)

function report(maker: string, imei: string, latitude: number, longitude: number): void {
  console.log(`${maker} ${imei} is at ${latitude.toFixed(4)}, ${longitude.toFixed(4)}`)
}

// 78 78, a length, a protocol number, its content, a serial number, a CRC, and a line end.
const gt06 = new Cio()
  .useConnection(
    frames({
      start: 'xx',
      length: { bytes: 1, plus: 2 },
      checksum: { of: x25, bytes: 2, over: 'header' },
      end: '\r\n',
      maxLength: 1_024,
    }),
  )
  .useConnection(async ({ messages }) => {
    let imei = 'unknown'
    for await (const frame of messages) {
      const [login, location, status] = [0x01, 0x12, 0x13]
      const protocol = frame[0]!
      if (protocol === login) imei = frame.toString('hex', 1, 9).slice(1)
      if (protocol === location) {
        report('GT06', imei, frame.readUInt32BE(8) / 1_800_000, frame.readUInt32BE(12) / 1_800_000)
      }
      // A login and a status are answered by their protocol and serial number.
      if (protocol === login || protocol === status) {
        await messages.send(Buffer.concat([frame.subarray(0, 1), frame.subarray(-2)]))
      }
    }
  })

// First the IMEI after its length; then records, after four zeros and a length, with a CRC.
const teltonika = new Cio()
  .useConnection(
    frames({
      oneOf: [
        {
          start: '\0\0\0\0',
          length: { bytes: 4, counts: 'body' },
          checksum: { of: arc, bytes: 4, over: 'body' },
        },
        { length: 2 },
      ],
      maxLength: 2_048,
    }),
  )
  .useConnection(async ({ messages, stream }) => {
    const { value } = await messages.next()
    const imei = value?.toString() ?? ''
    if (!/^\d{15}$/.test(imei)) return
    // The answers of a server have no frame.
    stream.write(Buffer.of(1))
    for await (const frame of messages) {
      const [longitude, latitude] = [frame.readInt32BE(11) / 1e7, frame.readInt32BE(15) / 1e7]
      report('Teltonika', imei, latitude, longitude)
      const count = Buffer.alloc(4)
      count.writeUInt32BE(frame[1]!)
      stream.write(count)
    }
  })

const app = new Cio().useConnection(timeout({ idle: 10 * 60_000 })).useConnection(
  route([
    { when: { bytes: 'xx' }, to: gt06 },
    { when: { bytes: '\0\x0f' }, to: teltonika },
  ]),
)
const told = (error: Error, { id }: StreamContext): void => console.info(`${id}: ${error.message}`)
app.on('remoteError', told).on('reject', told)

const server = await app.listen(process.env.PORT ?? 7020)
console.log(`trackers on port ${server.port}`)
