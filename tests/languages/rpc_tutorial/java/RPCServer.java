// The server of RabbitMQ's RPC tutorial, but for its queue, which it does not declare.
// It knows nothing of jobs.
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DeliverCallback;

public class RPCServer {
    private static byte[] compute(byte[] request) {
        return request;
    }

    public static void main(String[] argv) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("BROKER_QUEUE_URL"));
        Connection connection = factory.newConnection();
        Channel channel = connection.createChannel();
        channel.basicQos(1);
        String queue = System.getenv("BROKER_QUEUE_NAMESPACE") + ".jobs.rehearsal";
        System.out.println(" [x] Awaiting RPC requests");
        DeliverCallback deliverCallback = (consumerTag, delivery) -> {
            AMQP.BasicProperties replyProps = new AMQP.BasicProperties.Builder()
                    .correlationId(delivery.getProperties().getCorrelationId())
                    .build();
            byte[] response = compute(delivery.getBody());
            channel.basicPublish("", delivery.getProperties().getReplyTo(), replyProps, response);
            channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        };
        channel.basicConsume(queue, false, deliverCallback, consumerTag -> { });
    }
}
