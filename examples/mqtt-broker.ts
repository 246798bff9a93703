// npx tsx examples/certificates.ts certs sensor-1 && npx tsx examples/mqtt-broker.ts
//
// The broker Aedes, mounted: Cio accepts, makes mutual TLS and sets the limits, and Aedes speaks MQTT.
// A client may publish below its own name only. Needs `npm install --prefix examples`. Try it with
// `mosquitto_pub -p 7025 --cafile certs/ca.crt --cert certs/sensor-1.crt --key certs/sensor-1.key -t
// sensor-1/temperature -m 21`.

import { Aedes } from 'aedes'
import { Cio, certs, drain, limit } from '../src/index.ts'

/** The names in the certificates, by the connection object of Aedes. */
const names = new WeakMap<object, string>()

const broker = await Aedes.createBroker({
  authorizePublish(client, { topic }, done) {
    const name = client ? names.get(client.conn) : undefined
    done(topic.startsWith(`${name}/`) ? null : new Error(`${name} may not publish ${topic}`))
  },
})

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt', ca: 'certs/ca.crt' }))
  .useServer(drain({ signals: ['SIGTERM'] }))
  .useConnection(limit({ connections: 10_000, perAddress: 100 }))
  .useConnection(async function mqtt({ stream, peer }, next) {
    names.set(stream, peer?.name ?? '')
    broker.handle(stream)
    await next()
  })
// Its timers would keep the process running.
app.on('drained', () => broker.close())
app.on('reject', (error) => console.log(error.message))
app.on('error', (error) => console.error(error.message))
app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7025)
console.log(`MQTT on port ${server.port}`)
